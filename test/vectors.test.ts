import { blockInfo, decrypt, encrypt, hkdf, hkdfBlocks } from '../lib/format/cipher'

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex')

const zeroKey = '00'.repeat(32)
const key = 'feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308'
const plaintext =
  'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72' +
  '1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255'
const ciphertext =
  '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa' +
  '8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad'

/** McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B: the 256-bit cases with 96-bit nonces. */
const gcmCases = [
  {
    number: 13,
    key: zeroKey,
    nonce: '00'.repeat(12),
    aad: '',
    plaintext: '',
    ciphertext: '',
    tag: '530f8afbc74536b9a963b4f1c4cb738b',
  },
  {
    number: 14,
    key: zeroKey,
    nonce: '00'.repeat(12),
    aad: '',
    plaintext: '00'.repeat(16),
    ciphertext: 'cea7403d4d606b6e074ec5d3baf39d18',
    tag: 'd0d1c8a799996bf0265b98b5d48ab919',
  },
  {
    number: 15,
    key,
    nonce: 'cafebabefacedbaddecaf888',
    aad: '',
    plaintext,
    ciphertext,
    tag: 'b094dac5d93471bdec1a502270e3cc6c',
  },
  {
    number: 16,
    key,
    nonce: 'cafebabefacedbaddecaf888',
    aad: 'feedfacedeadbeeffeedfacedeadbeefabaddad2',
    plaintext: plaintext.slice(0, 120),
    ciphertext: ciphertext.slice(0, 120),
    tag: '76fc6ece0f4e1768cddf8853bb2d551b',
  },
]

describe('AES-256-GCM', () => {
  test.each(gcmCases)('case $number of the GCM specification', (each) => {
    const [k, nonce, aad] = [hex(each.key), hex(each.nonce), hex(each.aad)]
    const sealed = encrypt(k, nonce, aad, hex(each.plaintext))
    expect(sealed.ciphertext.toString('hex')).toBe(each.ciphertext)
    expect(sealed.tag.toString('hex')).toBe(each.tag)
    expect(decrypt(k, nonce, aad, hex(each.ciphertext), hex(each.tag))?.toString('hex')).toBe(each.plaintext)
  })

  test('a tag cut short is no tag', () => {
    const { key: k, nonce, aad, ciphertext: text, tag } = gcmCases[3]!
    for (const length of [0, 4, 8, 12, 15]) {
      expect(decrypt(hex(k), hex(nonce), hex(aad), hex(text), hex(tag).subarray(0, length))).toBeUndefined()
    }
  })

  test.each(['key', 'nonce', 'aad', 'ciphertext', 'tag'] as const)(
    'nothing is decrypted when the %s differs in a bit',
    (part) => {
      const inputs = Object.fromEntries(Object.entries(gcmCases[3]!).map(([name, text]) => [name, hex(String(text))]))
      inputs[part]![0]! ^= 1
      expect(decrypt(inputs.key!, inputs.nonce!, inputs.aad!, inputs.ciphertext!, inputs.tag!)).toBeUndefined()
    },
  )
})

const counting = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => (from + i).toString(16).padStart(2, '0')).join('')

/** RFC 5869, appendix A: the cases with SHA-256. */
const hkdfCases = [
  {
    number: 1,
    secret: '0b'.repeat(22),
    salt: '000102030405060708090a0b0c',
    info: 'f0f1f2f3f4f5f6f7f8f9',
    output: '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
  },
  {
    number: 2,
    secret: counting(0x00, 0x50),
    salt: counting(0x60, 0xb0),
    info: counting(0xb0, 0x100),
    output:
      'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09' +
      'da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87',
  },
  {
    number: 3,
    secret: '0b'.repeat(22),
    salt: '',
    info: '',
    output: '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
  },
]

describe('HKDF-SHA-256', () => {
  test.each(hkdfCases)('case $number of RFC 5869', ({ secret, salt, info, output }) => {
    expect(hkdf(hex(secret), hex(salt), hex(info), output.length / 2).toString('hex')).toBe(output)
  })

  test('the first block of case 3, and of several infos what they give one by one', () => {
    const { secret, output } = hkdfCases[2]!
    const infos = ['', 'encryption', 'commitment']
    const blocks = hkdfBlocks(hex(secret), infos.map(blockInfo))
    expect(blocks[0]?.toString('hex')).toBe(output.slice(0, 64))
    expect(blocks).toEqual(infos.map((info) => hkdf(hex(secret), new Uint8Array(0), Buffer.from(info), 32)))
  })
})
