import mongoose, { Schema, type SchemaDefinition } from 'mongoose'
import { build, refusal } from './refusals'
import { modelOf, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()

describe('fields that the plugin refuses when the schema is built', () => {
  class Money {}
  class Custom extends mongoose.SchemaType {
    override cast(value: unknown) {
      return value
    }
  }
  const plain = 'Expected a schema definition such as { email: String }'
  const cases: [name: string, fields: unknown, message: string][] = [
    ['none at all', undefined, plain],
    ['null', null, plain],
    ['a name by itself', 'email', plain],
    ['a function', String, plain],
    ['an empty object', {}, 'No field is named. Name at least one: { email: String }'],
    ['an empty list', [], 'No field is named. Name at least one'],
    ['a Schema', new Schema({ email: String }), 'Expected a plain definition, got a Schema. Write the fields out'],
    ['a list of numbers', [1], 'A list of fields must hold names, got number'],
    ['a list with a hole', ['email', undefined], 'A list of fields must hold names, got undefined'],
    ['a list of definitions', [{ email: String }], 'A list of fields must hold names, got object'],
    ['an empty name', [''], 'A name must not be empty'],
    ['a name with a dot', ['a.b'], 'Define nested fields as an object: { address: { city: String } }'],
    ['a name with a dollar', ['$a'], 'A name must not be empty, start with $ or hold a dot'],
    ['_id', ['_id'], 'fields._id: The schema already has a path of this name'],
    ['a field without a type', { email: undefined }, 'email'],
    ['a type that does not exist', { email: 'Strin' }, 'Strin'],
    ['Symbol', { email: Symbol }, 'Symbol'],
    ['a class', { email: Money }, 'Money'],
    ['a class in an array', { email: [{ type: Money }] }, 'Money'],
    ['index', { email: { type: String, index: true } }, 'MongoDB cannot index what is encrypted. Remove it'],
    ['sparse', { email: { type: String, sparse: true } }, 'fields.email: The option sparse has no meaning here'],
    ['text', { email: { type: String, text: true } }, 'fields.email: The option text has no meaning here'],
    ['expires', { at: { type: Date, expires: 60 } }, 'Keep it in a field of its own that is not encrypted'],
    ['ref', { other: { type: 'ObjectId', ref: 'User' } }, 'look the record up by the decrypted value'],
    ['refPath', { other: { type: 'ObjectId', refPath: 'kind' } }, 'look the record up by the decrypted value'],
    ['alias', { email: { type: String, alias: 'e' } }, 'An alias would read past the decryption. Remove it'],
    ['encrypt', { email: { type: String, encrypt: {} } }, 'encrypt'],
    ['index below a field', { a: { b: { type: String, index: true } } }, 'fields.a.b: The option index'],
    ['unique in an array', { a: [{ type: String, unique: true }] }, 'fields.a.$: The option unique'],
    ['index on an array', { a: { type: [String], index: true } }, 'fields.a: The option index'],
    ['ref in an array', { a: [{ type: 'ObjectId', ref: 'User' }] }, 'The option ref has no meaning here'],
    ['ref in a map', { a: { type: Map, of: { type: 'ObjectId', ref: 'User' } } }, 'The option ref has no meaning'],
    ['unique in subdocuments', { a: [{ b: { type: String, unique: true } }] }, 'fields.a.b: The option unique'],
    [
      'expires in a subdocument',
      { a: new Schema({ b: { type: Date, expires: 1 } }) },
      'fields.a.b: The option expires has no meaning here',
    ],
    [
      'alias in a map of subdocuments',
      { a: { type: Map, of: new Schema({ b: { type: String, alias: 'c' } }) } },
      'The option alias has no meaning here',
    ],
    [
      'an index of a subdocument',
      { a: new Schema({ b: String, c: String }).index({ b: 1, c: 1 }) },
      'An index was declared. MongoDB cannot index what is encrypted. Remove it',
    ],
  ]
  test.each(cases)('%s', (_name, fields, message) => {
    const error = refusal(() => build({ fields }))
    expect(error.code).toBe('FIELD_INVALID')
    expect(error.message).toContain(message)
    expect(error.message).toMatch(/^kmsEncrypted: fields/)
  })

  test('a type that the user has registered', () => {
    const types = mongoose.Schema.Types as unknown as Record<string, unknown>
    types.Custom = Custom
    try {
      for (const type of [Custom, 'Custom', { type: Custom }, [Custom]]) {
        const error = refusal(() => build({ fields: { email: type } }))
        expect(error.code).toBe('FIELD_INVALID')
        expect(error.message).toMatch(/Custom/)
      }
    } finally {
      delete types.Custom
    }
  })

  test('a field that is encrypted already, in a subdocument', () => {
    const contact = new Schema({})
    build({}, contact)
    const error = refusal(() => build({ fields: { contact } }))
    expect(error.code).toBe('FIELD_INVALID')
    expect(error.message).toContain('contact')
  })

  const collisions: [name: string, field: string, schema: () => Schema<any>, message: RegExp][] = [
    ['a path', 'email', () => new Schema({ email: String }), /already has a path of this name\. Remove it there/],
    ['a nested path', 'address', () => new Schema({ address: { city: String } }), /already has a path of this name/],
    ['a path of a timestamp', 'createdAt', () => new Schema({}, { timestamps: true }), /already has a path/],
    ['a virtual', 'email', () => withVirtual('email'), /already has a virtual of this name\. Remove it there/],
    ['a field of another data key', 'email', withEmail, /already has a path of this name/],
    ['a method', 'greet', () => new Schema({}, { methods: { greet: () => 1 } }), /a property of this name\. Choose/],
    ['the version key', '__v', () => new Schema({}), /a property of this name\. Choose another/],
    ['a version key of a name of its own', 'rev', () => new Schema({}, { versionKey: 'rev' }), /Choose another/],
    ['the discriminator key', '__t', () => new Schema({}), /a property of this name\. Choose another/],
    ...['save', 'isNew', 'get', 'errors', 'decrypt', 'rotateKmsKey', 'id', 'schema', 'collection', 'model', '_doc'].map(
      (field): [string, string, () => Schema<any>, RegExp] => [
        `the property ${field} of documents`,
        field,
        () => new Schema({}),
        /Documents already have a property of this name\. Choose another/,
      ],
    ),
  ]
  test.each(collisions)('one with the name of %s', (_name, field, schema, message) => {
    const error = refusal(() => build({ fields: [field], name: 'other' }, schema()))
    expect(error.code).toBe('FIELD_INVALID')
    expect(error.message).toContain(`fields.${field}: `)
    expect(error.message).toMatch(message)
  })

  test('the definition of the caller stays as it was', () => {
    const fields: SchemaDefinition = Object.freeze({ email: Object.freeze({ type: String, lowercase: true }) })
    build(Object.freeze({ fields }))
    expect(fields).toEqual({ email: { type: String, lowercase: true } })
  })
})

test('a schema that an earlier model was compiled from takes no fields, and stays as it was', async () => {
  const schema = new Schema<any>({ name: String })
  const Earlier = connection.model<any>('Earlier', schema)
  const error = refusal(() => build({}, schema))
  expect(error.code).toBe('OPTION_INVALID')
  expect(error.message).toContain('Use the plugin before the model is made')
  expect(Object.keys(schema.paths)).toEqual(['name', '_id', '__v'])
  await Earlier.create({ name: 'Ada', email: secret('ada@example.org') } as never)
  expect(await raw(Earlier.collection.name)).toEqual([{ _id: expect.anything(), name: 'Ada', __v: 0 }])
  const User = modelOf(connection, schema.clone(), { fields: ['email'] })
  const { _id } = await User.create({ name: 'Ada', email: secret('ada@example.org') })
  expect(await (await User.findById(_id)).email).toBe('ada@example.org')
})

function withVirtual(name: string): Schema<any> {
  const schema = new Schema<any>({})
  schema.virtual(name).get(() => 1)
  return schema
}

function withEmail(): Schema<any> {
  const schema = new Schema<any>({})
  build({}, schema)
  return schema
}
