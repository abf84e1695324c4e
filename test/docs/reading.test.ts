import mongoose, { Schema } from 'mongoose'
import { kmsEncrypted } from '../../lib'
import { rawCollection, useDatabase } from '../support'
import { encrypted, type Facts, modelOf, provider, readers, storedBytes, valuesBy } from './readers/readers'

// What the library writes is read by what was written from docs/format.md alone, in two languages.
const { connection } = useDatabase()
const { Types } = Schema
const { Binary, Decimal128, deserialize, Double, Int32, Long, ObjectId, UUID } = mongoose.mongo.BSON

const int = (value: number) => ({ $numberInt: String(value) })
const double = (text: string) => ({ $numberDouble: text })
const long = (value: number) => ({ $numberLong: String(value) })
const date = (value: number) => ({ $date: long(value) })
const bytes = (base64: string, subType = '00') => ({ $binary: { base64, subType } })
const hex = '65f0c0ffee65f0c0ffee65f0'
const uuid = '65f0c0ff-ee65-40c0-8fee-65f0c0ffee65'
const item = new Schema({ count: Number })

/** Types of fields, with a value as it is given and as it is in the plaintext. */
const values: Record<string, [type: unknown, given: unknown, stored: unknown]> = {
  string: [String, 'Ünïcode \u0000 𐀀', 'Ünïcode \u0000 𐀀'],
  emptyString: [String, '', ''],
  whole: [Number, 42, int(42)],
  zero: [Number, 0, int(0)],
  fraction: [Number, -1.5, double('-1.5')],
  beyond: [Number, 2 ** 31, double('2147483648.0')],
  int32: [Types.Int32, 7, int(7)],
  double: [Types.Double, 7, double('7.0')],
  bigint: [BigInt, 7n, long(7)],
  decimal: [Types.Decimal128, '1.50', { $numberDecimal: '1.50' }],
  boolean: [Boolean, false, false],
  date: [Date, new Date(1710277200000), date(1710277200000)],
  objectId: [Types.ObjectId, hex, { $oid: hex }],
  uuid: [Types.UUID, uuid, bytes('ZfDA/+5lQMCP7mXwwP/uZQ==', '04')],
  buffer: [Buffer, Buffer.from('abc'), bytes('YWJj')],
  otherBytes: [Buffer, new Binary(Buffer.from('abc'), 5), bytes('YWJj', '05')],
  strings: [[String], ['b', 'a'], ['b', 'a']],
  emptyArray: [[String], [], []],
  arrays: [[[Number]], [[1], [], [1.5]], [[int(1)], [], [double('1.5')]]],
  map: [
    { type: Map, of: Number },
    { b: 1, a: 2 },
    { b: int(1), a: int(2) },
  ],
  emptyMap: [{ type: Map, of: Number }, {}, {}],
  mapOfItems: [{ type: Map, of: item }, { x: { _id: hex, count: 1 } }, { x: { _id: { $oid: hex }, count: int(1) } }],
  nested: [
    { street: String, geo: { at: Date, none: String } },
    { street: null, geo: { at: new Date(0) } },
    { street: null, geo: { at: date(0) } },
  ],
  subdocument: [item, { _id: hex, count: 1 }, { _id: { $oid: hex }, count: int(1) }],
  subdocuments: [[item], [{ _id: hex, count: 1 }], [{ _id: { $oid: hex }, count: int(1) }]],
  mixed: [
    Types.Mixed,
    { map: new Map([['a', 1]]), bytes: Buffer.from('abc'), none: undefined, list: [null, undefined, new Date(0)] },
    { map: { a: int(1) }, bytes: bytes('YWJj'), list: [null, null, date(0)] },
  ],
  mixedEmpty: [Types.Mixed, {}, {}],
  mixedString: [Types.Mixed, 'text', 'text'],
}

/** Types of an `_id`, with one of a document and one of a subdocument. */
const ids: [name: string, type: unknown, id: unknown, within: unknown][] = [
  ['ObjectId', Types.ObjectId, hex, hex],
  ['String', String, 'a/b', 'Ü "𐀀"'],
  ['String', String, 'of a subdocument alone', null],
  ['Number', Number, 42, -1.5],
  ['Number', Number, 2 ** 40, 1e-7],
  ['Number', Number, 1.25e30, 123456789012345680000],
  ['Number', Number, 1e21, -0],
  ['Int32', Types.Int32, 7, 0],
  ['Double', Types.Double, 7, 0.1],
  ['BigInt', BigInt, 7n, 2n ** 60n],
  ['Boolean', Boolean, true, false],
  ['Date', Date, new Date('2024-03-12T21:00:00Z'), new Date(-1)],
  ['UUID', Types.UUID, uuid, uuid],
  ['Buffer', Buffer, Buffer.from('0a0b', 'hex'), Buffer.alloc(16, 1)],
  ['Buffer', Buffer, new Binary(Buffer.alloc(16, 1), 4), new Binary(Buffer.alloc(16, 1), 5)],
  ['Decimal128', Types.Decimal128, '150', '1.50'],
  ['Decimal128', Types.Decimal128, '-3', '-1.5E+40'],
  ['Mixed', Types.Mixed, { b: 'x"y', a: 1, 10: 2, 9: [null, true, 1.5] }, { a: new Date(0), b: new ObjectId(hex) }],
  ['Mixed', Types.Mixed, { a: new Binary(Buffer.from('ab')) }, { d: Decimal128.fromString('1.50'), u: new UUID(uuid) }],
  ['Mixed', Types.Mixed, 5, Long.fromBigInt(2n ** 60n)],
]

/** An `_id` as another program may have stored it, where the schema casts it to another. */
const castIds: [idType: string, type: unknown, given: unknown, stored: unknown][] = [
  ['Number', Number, 5, new Double(5)],
  ['Number', Number, 5, Long.fromNumber(5)],
  ['Number', Number, 2 ** 40, Long.fromNumber(2 ** 40)],
  ['Mixed', Types.Mixed, 5, new Double(5)],
  ['Mixed', Types.Mixed, 5, Long.fromNumber(5)],
  ['BigInt', BigInt, 5n, new Int32(5)],
  ['Double', Types.Double, 5, new Int32(5)],
  ['Int32', Types.Int32, 5, new Double(5)],
  ['nested', { a: Number, b: String }, { a: 1, b: 'x' }, { a: 1, b: 'x' }],
]

/** Subdocuments wherever they can stand, under data keys of their own and under those of the document. */
function everyPlace() {
  const line = encrypted({}, { fields: ['number'] })
  const place = encrypted({ lines: [line], main: line }, { fields: ['city'] }, { _id: false })
  const note = encrypted({}, { fields: ['text'], dataKey: 'owner' })
  const remark = encrypted({}, { fields: ['text'], dataKey: 'owner', name: 'second' }, { _id: false })
  const contact = encrypted(
    { place, notes: [note], remark },
    { fields: ['name'], context: () => ({ Kind: 'contact' }) },
  )
  const schema = encrypted(
    {
      zone: String,
      line,
      place,
      remark,
      note,
      contacts: [contact],
      profile: { contacts: [contact] },
      places: { type: Map, of: place },
      shelves: { type: Map, of: [note] },
      grid: [[line]],
    },
    { fields: ['email'], context: ({ zone }: any) => ({ Zone: zone, '€': 'sorted', 𐀀: 'by UTF-8' }) },
  )
  const context = ({ _id }: any) => ({ Record: `Other/${_id}` })
  schema.plugin(kmsEncrypted as any, { provider, name: 'second', keyPath: 'other_key', fields: ['phone'], context })
  return schema
}

const onePlace = (city: string) => ({ city, lines: [{ number: `${city} 1` }], main: { number: `${city} 2` } })
const oneContact = (name: string) => ({
  name,
  place: onePlace(name),
  notes: [{ text: `${name} 3` }, { text: `${name} 4` }],
  remark: { text: `${name} 5` },
})

describe.each(readers)('docs/format.md, followed in %s, reads', (_language, read) => {
  test('a value of every type', async () => {
    const fields = Object.fromEntries(Object.entries(values).map(([name, [type]]) => [name, type]))
    const Model = modelOf(connection, encrypted({}, { fields }))
    await Model.create(Object.fromEntries(Object.entries(values).map(([name, [, given]]) => [name, given])))
    const asked = Object.fromEntries(Object.keys(values).map((name) => [name, {}]))
    const expected = Object.fromEntries(Object.entries(values).map(([name, [, , stored]]) => [name, stored]))
    expect(valuesBy(read, (await storedBytes(connection))[0], Model.modelName, asked)).toEqual(expected)
  })

  test('what is null, not set, or an array that is made up, as it is stored', async () => {
    const Model = modelOf(
      connection,
      encrypted(
        {},
        {
          fields: {
            none: String,
            unset: String,
            nested: { a: String },
            tags: [String],
            map: { type: Map, of: Number },
          },
        },
      ),
    )
    await Model.create({ none: null })
    const [document] = await storedBytes(connection)
    expect(Object.keys(deserialize(document)).sort()).toEqual(['__v', '_id', 'encrypted_kms_key', 'none', 'tags'])
    expect(deserialize(document).none).toBeNull()
    expect(valuesBy(read, document, Model.modelName, { tags: {} })).toEqual({ tags: [] })
  })

  test.each(ids)('records and subdocuments by an _id that is %s: %#', async (idType, type, id, within) => {
    const part = encrypted({ _id: type }, { fields: ['phone'] })
    const Model = modelOf(connection, encrypted({ _id: type, parts: [part] }, { fields: ['email'] }))
    await Model.create({ _id: id, email: 'grace@example.org', parts: [{ _id: within, phone: '555' }] })
    const asked = { email: { idType }, 'parts.0.phone': { idType, idTypeWithin: idType } }
    const expected = { email: 'grace@example.org', 'parts.0.phone': '555' }
    expect(valuesBy(read, (await storedBytes(connection))[0], Model.modelName, asked)).toEqual(expected)
    const loaded = await Model.findOne().orFail()
    expect([await loaded.email, await loaded.parts[0].phone]).toEqual(['grace@example.org', '555'])
  })

  test.each(castIds)('a record by an _id that is cast to %s: %#', async (idType, type, given, stored) => {
    const Model = modelOf(connection, encrypted({ _id: type }, { fields: ['email'] }))
    await Model.create({ _id: given, email: 'grace@example.org' })
    const written = deserialize((await storedBytes(connection))[0], { promoteValues: false })
    await rawCollection(Model).deleteMany({})
    await rawCollection(Model).insertOne({ ...written, _id: stored } as never)
    const expected = { email: 'grace@example.org' }
    expect(valuesBy(read, (await storedBytes(connection))[0], Model.modelName, { email: { idType } })).toEqual(expected)
    expect(await (await Model.findOne().orFail()).email).toBe('grace@example.org')
  })

  test('subdocuments in every place', async () => {
    const Model = modelOf(connection, everyPlace())
    const { _id } = await Model.create({
      zone: 'Übersee',
      email: 'email',
      phone: 'phone',
      line: { number: 'line' },
      place: onePlace('place'),
      remark: { text: 'remark' },
      note: { text: 'note' },
      contacts: [oneContact('first'), oneContact('second')],
      profile: { contacts: [oneContact('third')] },
      places: { london: onePlace('london'), 7: onePlace('seven') },
      shelves: { top: [{ text: 'top' }], 0: [{ text: 'zero' }] },
      grid: [[], [{ number: 'grid' }]],
    })
    const record = { contexts: { 1: { Zone: 'Übersee', '€': 'sorted', 𐀀: 'by UTF-8' } } }
    const owner = { ...record, owner: true }
    const other = { keyPath: 'other_key', contexts: { 1: { Record: `Other/${_id}` } } }
    const otherOwner = { ...other, owner: true }
    const inPlace = (path: string, city: string): [string, Facts, string][] => [
      [`${path}.city`, {}, city],
      [`${path}.lines.0.number`, {}, `${city} 1`],
      [`${path}.main.number`, {}, `${city} 2`],
    ]
    const inContact = (path: string, name: string): [string, Facts, string][] => [
      [`${path}.name`, { contexts: { 1: { Kind: 'contact' } } }, name],
      ...inPlace(`${path}.place`, name),
      [`${path}.notes.0.text`, owner, `${name} 3`],
      [`${path}.notes.1.text`, owner, `${name} 4`],
      [`${path}.remark.text`, otherOwner, `${name} 5`],
    ]
    const all: [string, Facts, string][] = [
      ['email', record, 'email'],
      ['phone', other, 'phone'],
      ['line.number', {}, 'line'],
      ...inPlace('place', 'place'),
      ['remark.text', otherOwner, 'remark'],
      ['note.text', owner, 'note'],
      ...inContact('contacts.0', 'first'),
      ...inContact('contacts.1', 'second'),
      ...inContact('profile.contacts.0', 'third'),
      ...inPlace('places.london', 'london'),
      ...inPlace('places.7', 'seven'),
      ['shelves.top.0.text', owner, 'top'],
      ['shelves.0.0.text', owner, 'zero'],
      ['grid.1.0.number', {}, 'grid'],
    ]
    const asked = Object.fromEntries(all.map(([path, facts]) => [path, facts]))
    const expected = Object.fromEntries(all.map(([path, , value]) => [path, value]))
    expect(valuesBy(read, (await storedBytes(connection))[0], Model.modelName, asked)).toEqual(expected)
  })

  test('discriminators, by the name of their base', async () => {
    const kinds = { discriminatorKey: 'kind' }
    const pet = new Schema<any>({}, kinds)
    pet.discriminator('Dog', encrypted({}, { fields: ['chip'] }) as never)
    const Base = modelOf(connection, encrypted({ pets: [pet] }, { fields: ['email'] }, kinds))
    const Pupil = Base.discriminator<any>(`${Base.modelName}Pupil`, new Schema<any>({}))
    await Pupil.create({ email: 'pupil@example.org', pets: [{ kind: 'Dog', chip: '981' }] })
    const expected = { email: 'pupil@example.org', 'pets.0.chip': '981' }
    const asked = { email: {}, 'pets.0.chip': {} }
    expect(valuesBy(read, (await storedBytes(connection))[0], Base.modelName, asked)).toEqual(expected)
  })

  test('fields under data keys of two versions', async () => {
    const fields = ['email', 'phone']
    const One = modelOf(connection, encrypted({}, { fields, context: () => ({ Purpose: 'one' }) }))
    await One.create({ email: 'first', phone: 'first' })
    connection.deleteModel(One.modelName)
    const previousVersions = { 1: { context: () => ({ Purpose: 'one' }) } }
    const context = () => ({ Purpose: 'two' })
    const second = encrypted({}, { fields, version: 2, context, previousVersions })
    const Two = connection.model<any>(One.modelName, second, 'read')
    await (await Two.findOne().orFail()).set({ phone: 'second' }).save()
    const contexts = { 1: { Purpose: 'one' }, 2: { Purpose: 'two' } }
    const answers = valuesBy(read, (await storedBytes(connection))[0], One.modelName, {
      email: { contexts },
      phone: { contexts },
    })
    expect(answers).toEqual({ email: 'first', phone: 'second' })
  })

  test('a data key that was wrapped anew under the context of another version', async () => {
    const context = () => ({ Purpose: 'one' })
    const One = modelOf(connection, encrypted({}, { fields: ['email'], context }))
    await One.create({ email: 'first' })
    connection.deleteModel(One.modelName)
    const second = { version: 2, context: () => ({ Purpose: 'two' }), previousVersions: { 1: { context } } }
    const Two: any = connection.model<any>(One.modelName, encrypted({}, { fields: ['email'], ...second }), 'read')
    await (await Two.findOne().orFail()).rewrapKmsKey()
    const contexts = { 1: { Purpose: 'one' }, 2: { Purpose: 'two' } }
    const answers = valuesBy(read, (await storedBytes(connection))[0], One.modelName, { email: { contexts } })
    expect(answers).toEqual({ email: 'first' })
  })
})
