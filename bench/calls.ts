import type { Part } from './part'
import { CountedKms } from './providers'
import { encryptedModel, readFields, text, values } from './records'

const atOnce = 1000

export const calls: Part = {
  title: 'Calls to KMS',
  async run() {
    const kms = new CountedKms()
    const Model = encryptedModel('Counted', { provider: kms.provider })
    const rows: string[][] = []
    const count = async (what: string, work: () => Promise<unknown>) => {
      kms.calls = 0
      await work()
      rows.push([what, `${kms.calls}`])
    }
    await count('create', () => Model.create(Array.from({ length: atOnce }, values)))
    await count('find', () => Model.find())
    await count('read one field', async () => {
      for (const record of await Model.find()) await record.first
    })
    await count('read three fields', async () => {
      for (const record of await Model.find()) await readFields(record as never)
    })
    await count('updateOne of one field', async () => {
      for (const { _id } of await Model.find()) await Model.updateOne({ _id }, { first: text() })
    })
    await count('load, set one field, save', async () => {
      for (const record of await Model.find()) await record.set('first', text()).save()
    })
    await count('load and save untouched', async () => {
      for (const record of await Model.find()) await record.save()
    })
    return { tables: [{ head: [`of ${atOnce} records`, 'calls'], rows }] }
  },
}
