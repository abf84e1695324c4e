import { createCipheriv, createHash, hkdfSync } from 'node:crypto'
import { crc32 } from 'node:zlib'
import mongoose, { Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../../lib'
import { rawCollection, useDatabase } from '../support'
import { type Block, blocksOf, readPage, sectionOf } from './page'

// Recomputes the worked example from the page, by the page, and without anything of the library.
const { EJSON, ObjectId, serialize } = mongoose.mongo.BSON
const page = readPage('docs/format.md')
const example = sectionOf(page, '## A worked example')
const given = valuesOf(blocksOf(example))
const record = EJSON.parse(blocksOf(example).find(({ language }) => language === 'json')?.text ?? '', {
  relaxed: false,
}) as Record<string, any>

/** The byte strings of the example by their names, with their lengths checked. */
function valuesOf(blocks: Block[]): (name: string) => Buffer {
  const values = new Map<string, string>()
  let name = ''
  for (const line of blocks.filter(({ language }) => language === '').flatMap(({ text }) => text.split('\n'))) {
    const heading = /^(.+) \((\d+) bytes\)$/.exec(line)
    if (heading) name = heading[0]
    else values.set(name, (values.get(name) ?? '') + line.trim())
  }
  const bytes = new Map<string, Buffer>()
  for (const [heading, hex] of values) {
    const [, key, length] = /^(.+) \((\d+) bytes\)$/.exec(heading) as unknown as [string, string, string]
    expect(hex).toMatch(new RegExp(`^[0-9a-f]{${2 * Number(length)}}$`))
    bytes.set(key, Buffer.from(hex, 'hex'))
  }
  return (key) => {
    const value = bytes.get(key)
    if (!value) throw new Error(`The page has no value "${key}"`)
    return value
  }
}

function lp(...parts: (Uint8Array | string)[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const length = Buffer.alloc(4)
      length.writeUInt32BE(Buffer.byteLength(part as string))
      return [length, Buffer.from(part as string)]
    }),
  )
}

function seal(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): [Buffer, Buffer] {
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  cipher.setAAD(aad)
  return [Buffer.concat([cipher.update(plaintext), cipher.final()]), cipher.getAuthTag()]
}

function derive(info: string): Buffer {
  expect(page).toContain(`| \`${info}\` |`)
  return Buffer.from(hkdfSync('sha256', given('data key'), '', info, 32))
}

const id = '65f0c0ffee65f0c0ffee65f0'

describe('the worked example of docs/format.md', () => {
  test('the encryption context and what localKms wraps under it', () => {
    expect(given('context')).toEqual(lp('Record', `User/${id}`))
    const nonce = given('nonce of localKms')
    const [ciphertext, tag] = seal(given('secret'), nonce, given('context'), given('data key'))
    expect(given('wrapped')).toEqual(Buffer.concat([nonce, ciphertext, tag]))
    const digest = createHash('sha256').update('key id').update(given('secret')).digest('hex')
    expect(given('keyId').toString()).toBe(`local:not-for-production/${digest.slice(0, 16)}`)
  })

  test('the checksum of the entry', () => {
    const { version, createdAt, crc32: stored } = record.encrypted_kms_key[0]
    expect(page).toContain(`${createdAt.toISOString()}, and the checksum`)
    const numbers = Buffer.alloc(12)
    numbers.writeInt32BE(Number(version))
    numbers.writeBigInt64BE(BigInt(createdAt.getTime()), 4)
    expect(given('version and createdAt')).toEqual(numbers)
    expect(given('checksummed')).toEqual(lp(numbers, given('keyId'), given('wrapped'), given('commitment')))
    expect(given('crc32').readUInt32BE()).toBe(crc32(given('checksummed')))
    expect(given('crc32').readInt32BE()).toBe(Number(stored))
  })

  test('what is derived from the data key', () => {
    expect(given('encryption key')).toEqual(derive('mongoose-kms-encrypted/1 encryption'))
    expect(given('commitment')).toEqual(derive('mongoose-kms-encrypted/1 commitment'))
  })

  test('the plaintext, the AAD and the envelope', () => {
    const plaintext = Buffer.from(serialize({ v: 'ada@example.org' }))
    expect(given('plaintext')).toEqual(plaintext)
    expect(given('id')).toEqual(Buffer.from(serialize({ v: new ObjectId(id) })))
    const aad = lp('mongoose-kms-encrypted/1', Buffer.of(1), given('context'), given('id'), 'email')
    expect(given('aad')).toEqual(aad)
    const nonce = given('nonce of the field')
    const [ciphertext, tag] = seal(given('encryption key'), nonce, aad, plaintext)
    expect(given('ciphertext')).toEqual(ciphertext)
    expect(given('tag')).toEqual(tag)
    const reference = given('commitment').subarray(0, 4)
    expect(given('envelope')).toEqual(Buffer.concat([Buffer.of(1), reference, nonce, ciphertext, tag]))
    expect(given('envelope')).toHaveLength(plaintext.length + 33)
  })

  test('the record holds these bytes', () => {
    const [entry] = record.encrypted_kms_key
    expect(record.email.sub_type).toBe(0x80)
    expect(Buffer.from(record.email.buffer)).toEqual(given('envelope'))
    expect(Object.keys(entry)).toEqual(['version', 'keyId', 'wrapped', 'commitment', 'createdAt', 'crc32'])
    expect(entry.keyId).toBe(given('keyId').toString())
    expect(Buffer.from(entry.wrapped.buffer)).toEqual(given('wrapped'))
    expect(Buffer.from(entry.commitment.buffer)).toEqual(given('commitment'))
  })
})

const { connection } = useDatabase()

test('the library decrypts the worked example', async () => {
  const schema = new Schema({}) as Schema<any>
  schema.plugin(kmsEncrypted as any, { provider: localKms({ secret: given('secret') }), fields: ['email'] })
  const User = connection.model<any>('User', schema)
  await rawCollection(User).insertOne(record)
  const user = await User.findById(id).orFail()
  expect(await user.email).toBe('ada@example.org')
})
