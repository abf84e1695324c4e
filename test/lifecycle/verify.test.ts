import { Schema } from 'mongoose'
import type { VerifyResult } from '../../lib'
import { contactSchema, everything, misconfigured, named, plugin, secret, unsent, useFaults } from '../faults/support'
import { beforeAndAfter, commandsOf, watchedKms } from './support'

// What is stored is looked at as a whole, and nothing of it is changed.
const { connection, open, raw, tamper } = useFaults()
const ada = () => secret('ada@example.org')
const bob = () => secret('bob@example.org')
const number = () => secret('+44 20 7946 0000')

/** A model with indexed fields and subdocuments with keys of their own and under the owner's, and the provider that opens them. */
async function household() {
  const kms = watchedKms()
  const on = await open()
  const home = new Schema<any>({ kind: String }).plugin(plugin, { dataKey: 'owner', fields: { city: String } })
  const contact = contactSchema({ provider: kms.provider, fields: { phone: { type: String, blindIndex: true } } })
  const schema = new Schema<any>({ name: String, contacts: [contact], homes: { type: Map, of: home } }).plugin(plugin, {
    provider: kms.provider,
    fields: { email: { type: String, blindIndex: true }, note: String, age: Number },
  })
  const Person = on.model<any>(named('Person'), schema) as any
  const given = {
    name: 'Ada',
    email: ada(),
    note: null,
    contacts: [{ phone: number() }, {}],
    homes: { main: { city: secret('London, England') } },
  }
  return { Person, given, kms, sent: commandsOf(on) }
}

const told = ({ failures }: Pick<VerifyResult, 'failures'>) => failures.map(({ path, code }) => [path, code])

test('records in order are told to be, by one call for each data key, and nothing is sent but the reading', async () => {
  const { Person, given, kms, sent } = await household()
  const [first] = await Person.create([given, { name: 'none' }])
  const before = await everything()
  sent.length = 0
  expect(await Person.verifyKms()).toEqual({
    ...{ processed: 2, updated: 0, unchanged: 2, failed: 0 },
    ...{ checkpoint: expect.anything(), failures: [], interrupted: false },
  })
  expect([sent.map(({ name }) => name), kms.opened.length]).toEqual([['find'], 2])
  expect(await first.verifyKms()).toEqual([])
  expect(await first.contacts[0].verifyKms()).toEqual([])
  expect(kms.opened).toHaveLength(5)
  expect(await everything()).toBe(before)
})

describe('what is not in order is named by record, path and code:', () => {
  const damages: [string, (record: any, other: any) => object, [string, string][]][] = [
    ['plaintext', () => ({ email: unsent('in the clear') }), [['email', 'PLAINTEXT_FOUND']]],
    [
      'plaintext in subdocuments',
      () => ({ 'contacts.1.phone': unsent('in the clear'), 'homes.main.city': 7 }),
      [
        ['contacts.1.phone', 'PLAINTEXT_FOUND'],
        ['homes.main.city', 'PLAINTEXT_FOUND'],
      ],
    ],
    ['the value of another record', (_record, other) => ({ email: other.email }), [['email', 'DATA_KEY_MISSING']]],
    ['the value of another field', ({ email }) => ({ note: email }), [['note', 'ENVELOPE_REJECTED']]],
    [
      'a value cut short',
      ({ email }) => ({ email: email.buffer.subarray(0, 20), 'contacts.0.phone': email }),
      [
        ['email', 'PLAINTEXT_FOUND'],
        ['contacts.0.phone', 'DATA_KEY_MISSING'],
      ],
    ],
    [
      'no wrapped key',
      () => ({ encrypted_kms_key: [] }),
      [
        ['email', 'DATA_KEY_MISSING'],
        ['homes.main.city', 'DATA_KEY_MISSING'],
      ],
    ],
    [
      'a wrapped key that is none',
      () => ({ 'encrypted_kms_key.1': 5 }),
      [['encrypted_kms_key.1', 'WRAPPED_KEY_DAMAGED']],
    ],
    [
      'wrapped keys that are none',
      () => ({ 'contacts.1.encrypted_kms_key': 'x' }),
      [['contacts.1.encrypted_kms_key.0', 'WRAPPED_KEY_DAMAGED']],
    ],
    [
      'a damaged wrapped key, and what is under it is not told of again',
      () => ({ 'encrypted_kms_key.0.crc32': 5 }),
      [['encrypted_kms_key.0', 'WRAPPED_KEY_DAMAGED']],
    ],
    [
      'a wrapped key twice',
      ({ encrypted_kms_key: [key] }) => ({ encrypted_kms_key: [key, key] }),
      [
        ['encrypted_kms_key.0', 'WRAPPED_KEY_DAMAGED'],
        ['encrypted_kms_key.1', 'WRAPPED_KEY_DAMAGED'],
      ],
    ],
    [
      'the wrapped key of another record beside its own',
      (record, other) => ({ encrypted_kms_key: [...record.encrypted_kms_key, ...other.encrypted_kms_key] }),
      [['encrypted_kms_key.1', 'KMS_WRONG_CONTEXT']],
    ],
    [
      'index values of another value',
      (_record, other) => ({ email_bidx: other.email_bidx }),
      [['email_bidx', 'BLIND_INDEX_STALE']],
    ],
    ['no index values', () => ({ 'contacts.0.phone_bidx': null }), [['contacts.0.phone_bidx', 'BLIND_INDEX_STALE']]],
    ['index values of no value', () => ({ email: null }), [['email_bidx', 'BLIND_INDEX_STALE']]],
  ]

  test.each(damages)('%s', async (_name, damage, expected) => {
    const { Person, given } = await household()
    const [damaged, other] = await Person.create([given, { name: 'Bob', email: bob() }])
    const [record, theirs] = await raw(Person)
    await tamper(Person, { _id: damaged._id }, { $set: damage(record, theirs) })
    const before = await everything()
    const result = await Person.verifyKms({ batchSize: 1 })
    expect(told(result)).toEqual(expect.arrayContaining(expected))
    expect(result).toMatchObject({ processed: 2, updated: 0, unchanged: 1, failed: 1 })
    expect(result.failures).toHaveLength(expected.length)
    for (const { id, error, code } of result.failures) {
      expect([id, error.code]).toEqual([damaged._id, code])
      for (const text of [ada(), 'in the clear']) expect(error.message).not.toContain(text)
    }
    expect(await damaged.verifyKms()).toEqual(result.failures)
    expect(await other.verifyKms()).toEqual([])
    expect(await everything()).toBe(before)
  })

  test('a KMS that refuses, asked once for each data key', async () => {
    const { Person, given, kms } = await household()
    await Person.create({ ...given, note: secret('under the same key') })
    kms.whileOpening(() => {
      throw new Error('denied')
    })
    expect(told(await Person.verifyKms())).toEqual([
      ['encrypted_kms_key.0', 'KMS_FAILED'],
      ['contacts.0.encrypted_kms_key.0', 'KMS_FAILED'],
    ])
    expect(kms.opened).toHaveLength(2)
  })
})

test('what backfillBlindIndexes() is for is found, and not after it', async () => {
  const kms = watchedKms()
  const { Before, After } = beforeAndAfter(connection, await open(), { provider: kms.provider })
  await Before.create([{ email: ada(), phone: number() }, { email: bob() }])
  const stale = ['email_bidx', 'phone_bidx', 'email_bidx'].map((path) => [path, 'BLIND_INDEX_STALE'])
  expect(told(await After.verifyKms())).toEqual(stale)
  expect(told(await Before.verifyKms())).toEqual([])
  await After.backfillBlindIndexes()
  expect(told(await After.verifyKms())).toEqual([])
})

test('of a subdocument, that alone; and one that is gone, or a record, is told of', async () => {
  const { Person, given } = await household()
  const record = await Person.create(given)
  await tamper(Person, {}, { $set: { email: 5, 'contacts.1.phone': 5 } })
  expect(await record.contacts[0].verifyKms()).toEqual([])
  expect(await record.contacts[1].verifyKms()).toMatchObject([{ path: 'contacts.1.phone', code: 'PLAINTEXT_FOUND' }])
  await tamper(Person, {}, { $pull: { contacts: {} } })
  await expect(record.contacts[0].verifyKms()).rejects.toMatchObject({ code: 'RECORD_CHANGED' })
  await tamper(Person, {}, { $unset: { contacts: 1 } })
  await Person.deleteOne({ _id: record._id })
  await expect(record.verifyKms()).rejects.toMatchObject({ name: 'DocumentNotFoundError' })
})

test('of many failures the first hundred are kept, and no hook of the application is called', async () => {
  const called: string[] = []
  const schema = new Schema<any>({ name: String }).plugin(plugin, {
    provider: watchedKms().provider,
    fields: ['email'],
  })
  for (const hook of ['find', 'findOne', 'init', 'save'] as const)
    schema.pre(hook as never, (() => void called.push(hook)) as never)
  const Person = connection.model<any>(named('Person'), schema) as any
  await Person.insertMany(Array.from({ length: 120 }, () => ({ email: ada() })))
  await tamper(Person, {}, { $set: { email: 5 } })
  called.length = 0
  const { failed, failures } = await Person.verifyKms()
  expect([failed, failures.length, called]).toEqual([120, 100, []])
})

test('a method or static of that name of the application is not replaced', async () => {
  const fields = { email: String }
  const { provider } = watchedKms()
  for (const schema of [
    new Schema<any>({}).method('verifyKms', () => 1),
    new Schema<any>({}).static('verifyKms', () => 1),
  ])
    await misconfigured(
      () => schema.plugin(plugin, { provider, fields }),
      /verifyKms of its own\. Give it another name/,
    )
})

test('a record that was erased is in order: there is nothing left to be read', async () => {
  const { Person, given, kms } = await household()
  const [erased] = await Person.create([given, { name: 'Bob', email: bob() }])
  await erased.eraseKmsKey()
  kms.opened.length = 0
  expect(await Person.verifyKms()).toMatchObject({ unchanged: 2, failures: [] })
  expect(kms.opened).toHaveLength(1)
  expect(await Person.rotateKmsKey()).toMatchObject({ processed: 1, updated: 1, failed: 0 })
})
