import { DecryptCommand, GenerateDataKeyCommand, KMSClient } from '@aws-sdk/client-kms'
import { outcomeOf } from './goal'
import { withKms } from './kms'
import { concurrently, inRounds } from './measure'
import type { Part } from './part'
import { encryptedModel, plainModel, readFields, values } from './records'
import { cell } from './report'

const atOnce = 16

export const sdk: Part = {
  title: 'Create and open with the AWS SDK',
  run: ({ rounds, records }) =>
    withKms(async (keyId) => {
      const times = Math.ceil(records / 4)
      const client = new KMSClient()
      const Plain = plainModel()
      const Encrypted = encryptedModel('Encrypted', { keyId })
      const createAndOpen = async () => {
        const { _id } = await new Encrypted(values()).save()
        await readFields((await Encrypted.findById(_id)) as never)
      }
      const besideBareCalls = async () => {
        const record = new Plain(values())
        const EncryptionContext = { Record: `Encrypted/${record._id}` }
        const { CiphertextBlob } = await client.send(
          new GenerateDataKeyCommand({ KeyId: keyId, KeySpec: 'AES_256', EncryptionContext }),
        )
        await record.save()
        await readFields((await Plain.findById(record._id)) as never)
        await client.send(new DecryptCommand({ KeyId: keyId, CiphertextBlob, EncryptionContext }))
      }
      const measured = await inRounds(
        rounds,
        {
          plain: () => concurrently(atOnce, times, besideBareCalls),
          encrypted: () => concurrently(atOnce, times, createAndOpen),
        },
        () => Promise.all([Plain.deleteMany(), Encrypted.deleteMany()]),
      )
      client.destroy()
      const costs = { 'client CPU': 'cpuMs', time: 'wallMs' } as const
      return {
        goals: Object.entries(costs).map(([name, cost]) =>
          outcomeOf(
            { what: `${name} of create and open, encrypted / plain with the two bare calls`, limit: 1 },
            measured.map((round) => round.encrypted[cost] / round.plain[cost]),
          ),
        ),
        tables: [
          {
            head: ['', ...Object.keys(costs)],
            rows: (['plain', 'encrypted'] as const).map((way) => [
              way === 'plain' ? 'plain, and two bare calls' : way,
              ...Object.values(costs).map((cost) =>
                cell(
                  measured.map((round) => (round[way][cost] * 1000) / times),
                  'µs',
                ),
              ),
            ]),
          },
        ],
        notes: [
          `A record of three fields is saved, found by _id and read, ${atOnce} at once. Both have a client of the SDK without options.`,
        ],
      }
    }),
}
