import { createHash } from 'node:crypto'
import type mongoose from 'mongoose'
import { Schema } from 'mongoose'
import { decrypt, fieldEncryption } from 'mongoose-field-encryption'
import { eight, misconfigured, named, plugin, refused, useFaults } from '../faults/support'
import { hooked, isSealed, sealedIn } from './migrating'

const encryption = require('mongoose-encryption')

// What other libraries have encrypted, as they themselves have stored it: read, and encrypted under keys of the KMS.
const database = useFaults()
const { connection, raw, tamper, plant } = database

const names = ['email', 'dob', 'tags'] as const
const fields = { email: { type: String, blindIndex: true }, dob: Date, tags: [String] }
const plain = { email: String, dob: Date, tags: [String] }
const ada = { name: 'Ada', email: 'ada@example.org', dob: new Date('1815-12-10'), tags: ['one', 'two'] }
const values = { email: ada.email, dob: ada.dob, tags: ada.tags }

interface Recipe {
  readonly library: string
  /** How the other library is used. */
  use(schema: Schema<any>): unknown
  readonly from: (stored: any) => any
  readonly fromPaths: readonly string[]
}

const secret = 'the secret of the other library'
const hash = createHash('sha256').update(secret).digest('hex').slice(0, 32)
const open: (text: string, key: string, options: object) => string = decrypt
const read = (text: string) => open(text, hash, { notifyDecryptFails: true })

const fieldEncryptionRecipe: Recipe = {
  library: 'mongoose-field-encryption',
  use: (schema) => schema.plugin(fieldEncryption as any, { fields: [...names], secret }),
  from: (stored) =>
    Object.fromEntries(
      names.map((name) => {
        if (!stored[`__enc_${name}`]) return [name, stored[name]]
        const json = stored[`__enc_${name}_d`]
        return [name, json ? JSON.parse(read(json)) : stored[name] && read(stored[name])]
      }),
    ),
  fromPaths: names.flatMap((name) => [`__enc_${name}`, `__enc_${name}_d`]),
}

const keys = {
  encryptionKey: Buffer.alloc(32, 7).toString('base64'),
  signingKey: Buffer.alloc(64, 8).toString('base64'),
  encryptedFields: [...names],
}
const reader = new Schema<any>({ name: String, ...plain })
reader.plugin(encryption, { ...keys, middleware: false })

const encryptionRecipe: Recipe = {
  library: 'mongoose-encryption',
  use: (schema) => schema.plugin(encryption, { ...keys, collectionId: 'people' }),
  from: (stored) => {
    if (!stored._ct) return stored
    const record = { ...stored }
    ;(reader.methods as any).authenticateSync.call(record, 'people')
    ;(reader.methods as any).decryptSync.call(record)
    return record
  },
  fromPaths: ['_ct', '_ac'],
}

async function versions(recipe: Recipe, options: object = {}) {
  const name = named('Person')
  const before = new Schema<any>({ name: String, ...plain })
  recipe.use(before)
  const Old = (await database.open()).model<any>(name, before) as any
  const kms = hooked()
  const make = (on: mongoose.Connection, own: object = {}) => {
    const { from, fromPaths } = recipe
    const after = new Schema<any>({ name: String })
    after.plugin(plugin, { provider: kms.provider, fields, migrating: true, from, fromPaths, ...options, ...own })
    return on.model<any>(name, after) as any
  }
  return { Old, New: make(connection), kms, again: async (own: object) => make(await database.open(), own) }
}

// mongoose-encryption has hooks that Mongoose 9 does not call as it expects.
const recipes = [fieldEncryptionRecipe, ...(eight ? [encryptionRecipe] : [])]

const plainOf = ({ email, dob, tags }: any) => ({ email, dob, tags: tags && [...tags] })

describe.each(recipes)('what $library has stored', (recipe) => {
  const isGone = (stored: any) => recipe.fromPaths.every((path) => stored[path] === undefined)

  test('is read by documents, lean objects and on load, and changes nothing', async () => {
    const { Old, New, again } = await versions(recipe)
    await Old.create(ada)
    const stored = await raw(Old)
    expect(JSON.stringify(stored)).not.toContain('example.org')
    const doc = await New.findOne()
    expect(plainOf(doc)).toEqual(values)
    expect(plainOf(await doc.decrypt())).toEqual(values)
    const lean = await New.decrypt(await New.findOne().lean())
    expect(lean).toEqual({ ...ada, _id: stored[0]._id, __v: 0 })
    expect(plainOf(await (await again({ decrypt: 'onLoad' })).findOne())).toEqual(values)
    expect((await New.findOne().select('dob')).dob).toEqual(ada.dob)
    for (const path of recipe.fromPaths) expect(JSON.stringify(doc)).not.toContain(path)
    await doc.save()
    expect(await raw(Old)).toEqual(stored)
  })

  test('is encrypted with the next save, and what is of that library alone removed', async () => {
    const { Old, New, kms } = await versions(recipe)
    await Old.create(ada)
    const doc = await New.findOne()
    doc.name = 'Countess'
    await doc.save()
    const [stored] = await raw(Old)
    expect([sealedIn(stored).sort(), isGone(stored)]).toEqual([
      [...names, 'email_bidx'].filter((path) => path in fields).sort(),
      true,
    ])
    expect(kms.calls.generate).toBe(1)
    expect(plainOf(await (await New.findOne({ email: ada.email })).decrypt())).toEqual(values)
    expect(await New.migrateToKms()).toMatchObject({ processed: 0 })
  })

  test('is encrypted by the job', async () => {
    const { Old, New } = await versions(recipe)
    await Old.create([ada, { name: 'None' }, { ...ada, name: 'Bob', email: 'bob@example.org' }])
    expect(await New.migrateToKms()).toMatchObject({ failed: 0 })
    const stored = await raw(Old)
    expect(
      stored.map((each) => [names.every((name) => isSealed(each[name]) || each[name] === undefined), isGone(each)]),
    ).toEqual(Array(3).fill([true, true]))
    expect(await New.migrateToKms()).toMatchObject({ updated: 0, failed: 0 })
    expect((await New.find({ email: 'bob@example.org' })).map(({ name }: any) => name)).toEqual(['Bob'])
    const doc = await New.findOne({ name: 'Ada' })
    expect(plainOf(await doc.decrypt())).toEqual(values)
  })

  test('is gone where a field was set, or set to nothing', async () => {
    const { Old, New } = await versions(recipe)
    const { _id } = await Old.create(ada)
    const doc = await New.findOne()
    doc.email = 'new@example.org'
    doc.dob = undefined
    await doc.save()
    expect(isGone((await raw(Old))[0])).toBe(true)
    expect(plainOf(await (await New.findOne()).decrypt())).toEqual({
      email: 'new@example.org',
      dob: null,
      tags: ada.tags,
    })
    await Old.collection.deleteMany({})
    await Old.create({ ...ada, _id })
    await New.updateOne({ _id }, { $unset: { email: 1 }, $set: { name: 'x' } })
    expect(plainOf(await (await New.findOne()).decrypt())).toEqual({ ...values, email: null })
    await New.updateOne({ _id }, { $set: { dob: new Date(0) } })
    await New.migrateToKms()
    const [stored] = await raw(Old)
    expect(isGone(stored)).toBe(true)
    expect(plainOf(await (await New.findOne()).decrypt())).toEqual({ ...values, email: null, dob: new Date(0) })
  })

  test('is encrypted as far as it was selected; where a field was left out, all is left to the job', async () => {
    const { Old, New } = await versions(recipe)
    await Old.create([ada, { ...ada, name: 'Bob' }])
    const before = (await raw(Old))[1]
    await (await New.findOne({ name: 'Ada' }).select('name dob')).set('name', 'x').save()
    await (await New.findOne({ name: 'Bob' }).select('-email')).set('name', 'y').save()
    const [one, two] = await raw(Old)
    expect([sealedIn(one), isGone(one)]).toEqual([['dob'], false])
    if (recipe.library === 'mongoose-field-encryption') expect(two).toEqual({ ...before, name: 'y' })
    for (const each of await New.find()) expect(plainOf(await each.decrypt())).toEqual(values)
    await New.migrateToKms()
    expect((await raw(Old)).map(isGone)).toEqual([true, true])
    for (const each of await New.find()) expect(plainOf(await each.decrypt())).toEqual(values)
  })

  test('is not taken away where it was written over what is encrypted', async () => {
    const { Old, New, kms } = await versions(recipe)
    const { _id } = await Old.create(ada)
    await New.updateOne({ _id }, { email: 'mine@example.org' })
    const old = async () => {
      await Old.collection.deleteOne({ _id })
      await Old.create({ ...ada, _id, email: 'theirs@example.org' })
    }
    const doc = await New.findOne({ _id })
    kms.during(old)
    await doc.set('name', 'x').save()
    expect(plainOf(await (await New.findOne()).decrypt())).toEqual({ ...values, email: 'theirs@example.org' })
    await New.updateOne({ _id }, { email: 'mine@example.org' })
    kms.during(old)
    await New.migrateToKms()
    expect(plainOf(await (await New.findOne()).decrypt())).toEqual({ ...values, email: 'theirs@example.org' })
  })

  test('is not overwritten where it was changed meanwhile', async () => {
    const { Old, New, kms } = await versions(recipe)
    await Old.create(ada)
    const change = async (email: string) => {
      const old = await Old.findOne()
      old.email = email
      await old.save()
    }
    const doc = await New.findOne()
    doc.name = 'x'
    kms.during(() => change('newer@example.org'))
    await doc.save()
    expect((await New.findOne()).email).toBe('newer@example.org')
    expect((await raw(Old))[0].name).toBe('x')
    expect(doc.email).toBe('newer@example.org')
    kms.during(() => change('newest@example.org'))
    expect(await New.migrateToKms()).toMatchObject({ failed: 0 })
    expect(await (await New.findOne()).email).toBe('newest@example.org')
    expect(isGone((await raw(Old))[0])).toBe(true)
  })

  test('keeps its marks where it was written again while they were to be removed', async () => {
    const { Old, New, kms } = await versions(recipe)
    await Old.create([{ ...ada, name: 'first' }])
    const { _id } = await Old.create(ada)
    const before = (await raw(Old))[1]
    // All of its values are new, so that nothing was known of what the other library has.
    const mine = { email: 'mine@example.org', dob: new Date(0), tags: ['mine'] }
    await (await New.findOne({ _id })).set(mine).save()
    expect(isGone((await raw(Old))[1])).toBe(false)
    // The job has read both when it comes to the second.
    kms.during(() => Old.collection.replaceOne({ _id }, before))
    expect(await New.migrateToKms({ concurrency: 1 })).toMatchObject({ processed: 2, failed: 0 })
    expect(plainOf(await (await New.findOne({ _id })).decrypt())).toEqual(values)
    const last = (await raw(Old))[1]
    expect([isGone(last), sealedIn(last).length]).toEqual([true, 3])
    await (await New.findOne({ _id })).set(mine).save()
    await New.migrateToKms()
    expect(plainOf(await (await New.findOne({ _id })).decrypt())).toEqual(mine)
  })

  test('comes back in the clear by migrateFromKms(), and is encrypted again', async () => {
    const { Old, New } = await versions(recipe)
    await Old.create(ada)
    await New.migrateToKms()
    expect(await New.migrateFromKms()).toMatchObject({ updated: 1 })
    const [stored] = await raw(Old)
    expect(stored).toEqual({ ...ada, _id: stored._id, __v: 0 })
    expect(plainOf(await New.findOne())).toEqual(values)
    expect(await New.migrateToKms()).toMatchObject({ updated: 1 })
    expect(sealedIn((await raw(Old))[0]).sort()).toEqual([...names].sort())
  })

  test('is refused and stays where it cannot be read', async () => {
    const { Old, New } = await versions(recipe)
    await Old.create(ada)
    const [path] = recipe.library === 'mongoose-encryption' ? ['_ct'] : ['email']
    await tamper(Old, {}, { $set: { [path as string]: path === '_ct' ? Buffer.alloc(64, 97) : 'aa:bb' } })
    const before = await raw(Old)
    const doc = await New.findOne()
    await refused(() => doc.email, 'FROM_FAILED')
    doc.name = 'x'
    await doc.save()
    const { failures } = await New.migrateToKms()
    expect(failures.map(({ error }: any) => error.code)).toEqual(['FROM_FAILED'])
    expect(await raw(Old)).toEqual([{ ...before[0], name: 'x' }])
  })
})

test('what the function says nothing of is not taken for a value in the clear', async () => {
  const { New } = await versions({ ...fieldEncryptionRecipe, from: () => ({}) })
  await plant(New, { email: 'ciphertext of another' })
  const doc = await New.findOne()
  await refused(() => doc.email, 'PLAINTEXT_FOUND')
  await doc.set('name', 'x').save()
  expect((await New.migrateToKms()).failures).toHaveLength(1)
  expect((await raw(New))[0].email).toBe('ciphertext of another')
})

test('the options are checked', async () => {
  const make = (options: object) => () =>
    new Schema<any>({}).plugin(plugin, { keyId: 'alias/any', fields: ['email'], ...options })
  await misconfigured(make({ from: 1, migrating: true }), /from: Expected a function/)
  await misconfigured(make({ from: () => ({}) }), /from: It is for migrating: true/)
  await misconfigured(make({ fromPaths: ['_ct'], migrating: true }), /fromPaths: .*Give that, too/)
  await misconfigured(
    make({ from: () => ({}), fromPaths: ['a.b'], migrating: true }),
    /fromPaths: Expected a top-level path/,
  )
  const part = new Schema<any>({}).plugin(plugin, {
    provider: hooked().provider,
    fields: ['phone'],
    migrating: true,
    from: () => ({}),
  })
  await misconfigured(() => connection.model(named('Owner'), new Schema<any>({ part })), /a field of a subdocument/)
})
