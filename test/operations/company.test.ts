import mongoose, { type Query, Schema } from 'mongoose'
import { kmsEncrypted, localKms } from '../../lib'
import { countingKms } from '../counting'
import { secret, useDatabase } from '../support'
import { check, isThere, type Setting, unlessLacking } from './check'
import { makeModels, userSchema } from './models'
import { kinds, type Row } from './row'
import { table } from './table'
import { testTable } from './transaction'

/**
 * The table once more, in the company that an application keeps: a global plugin that comes after the first schema with
 * the library and sets a field with every write, statics that call those of Mongoose, and plain models of the same
 * collection that know nothing of the fields. Every command that is sent is searched for plaintext.
 */

const { connection, commands } = useDatabase()
const kms = countingKms()
const memo = 'set by a hook of another'
const isEight = mongoose.version.startsWith('8.')

new Schema({}).plugin(kmsEncrypted, { provider: localKms(), fields: ['email'] })
mongoose.plugin(setMemo as never)

/** Sets a field with whatever is written, in hooks that run after those of the library. */
function setMemo(schema: Schema<any>): void {
  if (!schema.path('memo')) return
  schema.pre('save', async function () {
    this.set('memo', memo)
  })
  schema.pre(['updateOne', 'updateMany', 'findOneAndUpdate'] as never, async function (this: Query<any, any>) {
    const update = this.getUpdate() as any
    if (!Array.isArray(update)) this.setUpdate({ ...update, $set: { ...update?.$set, memo } })
  })
  schema.pre(['replaceOne', 'findOneAndReplace'] as never, async function (this: Query<any, any>) {
    const update = this.getUpdate() as any
    if (update.$__) update.set('memo', memo)
    else this.setUpdate({ ...update, memo })
  })
  schema.pre('insertMany', withArray((docs) => docs.forEach(setOn)) as never)
  // An update of a record that the same bulk inserts is refused where it has a value for a field.
  const setInOnly = (operations: any[]) => operations.length === 1 && setInOperation(operations[0])
  schema.pre('bulkWrite' as never, withArray(setInOnly) as never)
}

function setOn(doc: any): void {
  if (doc.$__) doc.set('memo', memo)
  else doc.memo = memo
}

/** One value for many is refused in a bulk, so an `updateMany` stays as it is. */
function setInOperation({ insertOne, replaceOne, updateOne }: any): void {
  if (insertOne) setOn(insertOne.document)
  if (replaceOne) setOn(replaceOne.replacement)
  if (updateOne && !Array.isArray(updateOne.update))
    updateOne.update = { ...updateOne.update, $set: { ...updateOne.update.$set, memo } }
}

/** Operations without hooks, and those that the hooks above leave as they are. */
const isHookless =
  /middleware: false|^connection\.|^Model\.collection\.|^pipeline|bulkWrite updateMany|earlier operation/
/** Operations that write Ada's record and change nothing that the table knows. */
const writeAda = [
  'updateOne $setOnInsert, upsert of a record that is there',
  'updateOne(filter, { field: undefined })',
  'updateOne $rename',
  'Model.insertMany([stored record], { lean: true })',
]

function hooked({ name }: Row): readonly string[] | undefined {
  if (isHookless.test(name)) return []
  return writeAda.includes(name) ? ['Ada'] : undefined
}

/** A hook of a static, which Mongoose 8 gives a callback before the arguments. */
function withArray(act: (items: any[]) => void) {
  const actOn = (items: unknown) => act([items].flat())
  if (!isEight) return async (items: unknown) => actOn(items)
  return (next: () => void, items: unknown) => {
    actOn(items)
    next()
  }
}

/** What the application has overridden. */
const statics = [
  ...['create', 'insertMany', 'insertOne', 'bulkWrite', 'bulkSave', 'hydrate', 'aggregate'],
  ...['updateOne', 'updateMany', 'findOneAndUpdate', 'findByIdAndUpdate', 'replaceOne', 'findOneAndReplace'],
  ...['deleteOne', 'deleteMany', 'findOneAndDelete', 'findByIdAndDelete'],
  ...['find', 'findOne', 'findById', 'distinct', 'countDocuments', 'exists'],
]
const called = new Set<string>()

function withStatics(schema: Schema<any>): void {
  const { Model } = mongoose as any
  for (const name of statics) {
    ;(schema.statics as any)[name] = function (...args: unknown[]) {
      called.add(name)
      return Model[name].call(this, ...args)
    }
  }
}

/** A model of the collection that was there before, and knows nothing of what is encrypted. */
function plainModel(collection: string) {
  return connection.model<any>(
    `Plain_${collection}_${connection.modelNames().length}`,
    userSchema({ collection, strict: false } as never),
  ) as any
}

const collection = 'company'
const plainBefore = plainModel(collection)
const models = makeModels(connection, kms, { collection }, { fields: { memo: String }, prepare: withStatics })
const plainAfter = plainModel(collection)
const setting: Setting = { ...models, connection, commands, kms, memo, hooked }

beforeAll(() => Promise.all([models.User.init(), models.Post.init()]))
beforeEach(() => secret(memo))

testTable(setting)

/** A property that is no path of the schema is nothing that Mongoose stores. */
const isProperty = /^document\.\w+ = /
/** A document that a plain model has loaded holds what is stored, whatever of it is written. */
const isLoaded = /overwrite|by a loaded document/
const isFor = ({ name }: { name: string }) => !isProperty.test(name) && !isLoaded.test(name)
/** What is read by a plain model is what is stored, and it may put that back. */
const reading = ['Reading fields', 'Projections', 'Sorting, grouping and joining', 'Putting ciphertext back']

describe.each([
  ['that was there before', plainBefore],
  ['that came after', plainAfter],
])('a plain model of the same collection, %s', (_name, by) => {
  for (const { title, rows } of table.filter((section) => !reading.includes(section.title))) {
    describe(title, () => {
      for (const row of rows.filter(isThere).filter(isFor)) {
        test.each(kinds)(`${row.name}, %s`, (kind) =>
          unlessLacking(row, () => check({ ...setting, by }, row, kind, {})),
        )
      }
    })
  }
})

test('every static that is overridden was called by a row', () => {
  expect([...called].sort()).toEqual([...statics].sort())
})
