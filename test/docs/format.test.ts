import { createCipheriv, createDecipheriv, createHash, hkdfSync } from 'node:crypto'
import { crc32 } from 'node:zlib'
import mongoose, { Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../../lib'
import { rawCollection, useDatabase } from '../support'
import { type Block, blocksOf, readPage, sectionOf } from './page'

// Recomputes the worked example from the page, by the page, and without anything of the library.
const { EJSON, ObjectId, serialize, deserialize } = mongoose.mongo.BSON
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

const { connection, raw } = useDatabase()
const schema = new Schema({}) as Schema<any>
schema.plugin(kmsEncrypted as any, { provider: localKms({ secret: given('secret') }), fields: ['email'] })

test('the library decrypts the worked example', async () => {
  const User = connection.model<any>('User', schema)
  await rawCollection(User).insertOne(record)
  const user = await User.findById(id).orFail()
  expect(await user.email).toBe('ada@example.org')
})

/** Decrypts an envelope by the steps of the page, given what it is bound to. */
function decryptByThePage(
  stored: { envelope: any; entries: any[] },
  bound: { context: Record<string, string>; id: object; path: string },
): unknown {
  const envelope = Buffer.from(stored.envelope.buffer)
  expect(envelope[0]).toBe(1)
  const entry = stored.entries.find(({ commitment }) =>
    Buffer.from(commitment.buffer).subarray(0, 4).equals(envelope.subarray(1, 5)),
  )
  const context = lp(...Object.entries(bound.context).sort().flat())
  const dataKey = open(given('secret'), context, Buffer.from(entry.wrapped.buffer))
  const encryptionKey = Buffer.from(hkdfSync('sha256', dataKey, '', 'mongoose-kms-encrypted/1 encryption', 32))
  const commitment = Buffer.from(hkdfSync('sha256', dataKey, '', 'mongoose-kms-encrypted/1 commitment', 32))
  expect(Buffer.from(entry.commitment.buffer)).toEqual(commitment)
  const aad = lp('mongoose-kms-encrypted/1', Buffer.of(1), context, serialize(bound.id), bound.path)
  return deserialize(open(encryptionKey, aad, envelope.subarray(5))).v
}

/** Decrypts nonce ‖ ciphertext ‖ tag. */
function open(key: Uint8Array, aad: Uint8Array, bytes: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12), { authTagLength: 16 })
  decipher.setAAD(aad)
  decipher.setAuthTag(bytes.subarray(-16))
  return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()])
}

test('what the library stores decrypts by the steps of the page', async () => {
  const User = connection.model<any>('User', schema)
  const { _id } = await User.create({ email: 'grace@example.org' })
  const [stored] = (await raw('users')) as any
  const bound = { context: { Record: `User/${_id}` }, id: { v: _id }, path: 'email' }
  const entries = stored.encrypted_kms_key
  expect(decryptByThePage({ envelope: stored.email, entries }, bound)).toBe('grace@example.org')
})

const { Types } = Schema
const uuid = '65f0c0ff-ee65-40c0-8fee-65f0c0ffee65'

test.each([
  ['ObjectId', Types.ObjectId, new ObjectId(id), id],
  ['string', String, 'a/b', 'a/b'],
  ['number', Number, 42, '42'],
  ['number that is not whole', Number, 1.5, '1.5'],
  ['number beyond 32 bits', Number, 2 ** 40, '1099511627776'],
  ['Int32', Types.Int32, 7, '7'],
  ['Double', Types.Double, new mongoose.mongo.BSON.Double(7), '7'],
  ['BigInt', BigInt, 7n, '7'],
  ['boolean', Boolean, true, 'true'],
  ['date', Date, new Date('2024-03-12T21:00:00Z'), '2024-03-12T21:00:00.000Z'],
  ['UUID', Types.UUID, new mongoose.mongo.BSON.UUID(uuid), uuid],
  ['bytes', Buffer, Buffer.from('0a0b', 'hex'), '0a0b'],
  ['object', Types.Mixed, { a: 1, b: 'x' }, '{"a":1,"b":"x"}'],
])('the text of an _id is that of the page: %s', async (_name, type, value, text) => {
  const own = new Schema({ _id: type as any }) as Schema<any>
  own.plugin(kmsEncrypted as any, { provider: localKms({ secret: given('secret') }), fields: ['email'] })
  const name = `Id${connection.modelNames().length}`
  const Model = connection.model<any>(name, own, 'users')
  await Model.create({ _id: value, email: 'grace@example.org' })
  const [stored] = (await raw('users')) as any
  const bound = { context: { Record: `${name}/${text}` }, id: { v: value }, path: 'email' }
  const entries = stored.encrypted_kms_key
  expect(decryptByThePage({ envelope: stored.email, entries }, bound)).toBe('grace@example.org')
  expect(await (await Model.findOne().orFail()).email).toBe('grace@example.org')
})

test('an _id that is stored as a double or an int64 is the number that it is read as', async () => {
  const own = new Schema({ _id: Number }) as Schema<any>
  own.plugin(kmsEncrypted as any, { provider: localKms({ secret: given('secret') }), fields: ['email'] })
  const Model = connection.model<any>('Numbered', own, 'users')
  await Model.create({ _id: 5, email: 'grace@example.org' })
  const [stored] = (await raw('users')) as any
  const { Double, Long } = mongoose.mongo.BSON
  for (const _id of [new Double(5), Long.fromNumber(5)]) {
    await rawCollection(Model).deleteMany({})
    await rawCollection(Model).insertOne({ ...stored, _id })
    expect(await (await Model.findOne().orFail()).email).toBe('grace@example.org')
  }
})

test('the fields of subdocuments decrypt by the steps of the page, under keys of their own and of the owner', async () => {
  const provider = localKms({ secret: given('secret') })
  const contact = new Schema({}) as Schema<any>
  contact.plugin(kmsEncrypted as any, { provider, fields: ['phone'] })
  const note = new Schema({}) as Schema<any>
  note.plugin(kmsEncrypted as any, { dataKey: 'owner', fields: ['text'] })
  const own = new Schema({ contacts: [contact], places: { type: Map, of: contact }, notes: [note], zone: String })
  own.plugin(kmsEncrypted as any, { provider, fields: ['email'], context: ({ zone }: any) => ({ Zone: zone }) })
  const Person = connection.model<any>('Person', own as Schema<any>, 'users')
  const { _id } = await Person.create({
    zone: 'north',
    email: 'grace@example.org',
    contacts: [{ phone: '1' }],
    places: { london: { phone: '2' } },
    notes: [{ text: 'three' }],
  })
  const [{ contacts, places, notes, encrypted_kms_key }] = (await raw('users')) as any
  const within = (at: string, record: { _id: unknown }) => ({
    context: { Record: `Person/${_id}/${at}/${record._id}` },
    id: { v: _id, at, id: record._id },
    path: 'phone',
  })
  for (const [at, record, phone] of [
    ['contacts', contacts[0], '1'],
    ['places.london', places.london, '2'],
  ]) {
    const stored = { envelope: record.phone, entries: record.encrypted_kms_key }
    expect(decryptByThePage(stored, within(at, record))).toBe(phone)
  }
  const [first] = notes
  expect(Object.keys(first).sort()).toEqual(['_id', 'text'])
  const context = { Record: `Person/${_id}`, Zone: 'north' }
  const bound = { context, id: { v: _id, at: 'notes', id: first._id }, path: 'text' }
  expect(decryptByThePage({ envelope: first.text, entries: encrypted_kms_key }, bound)).toBe('three')
})
