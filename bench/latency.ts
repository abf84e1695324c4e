import { type Goal, outcomeOf } from './goal'
import { concurrently, inRounds } from './measure'
import type { Part } from './part'
import { SlowKms } from './providers'
import { encryptedModel, type PlainModel, plainModel, values } from './records'
import { cell } from './report'
import { summaryOf } from './statistics'

const latencyMs = 10
const ways = ['Model.decrypt', 'onLoad', 'insertMany'] as const
const limits = { 32: [1.1, 1.15, 1.2], 100: [1.5, 1.5, 1.5] } as const

async function readAll(cursor: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of cursor);
}

/** What one of many waits for the KMS, beside the time that it takes by itself. */
export const latency: Part = {
  title: 'Many records and a slow KMS',
  async run({ rounds, records }) {
    const goals = []
    const rows = []
    const plain = plainModel()
    const plainInserted = plainModel('PlainInserted')
    await plain.insertMany(Array.from({ length: records }, values))
    for (const atOnce of [32, 100] as const) {
      const kms = new SlowKms(atOnce)
      const { provider } = kms
      const Locked = encryptedModel(`Locked${atOnce}`, { provider }) as PlainModel & {
        decrypt(records: readonly unknown[]): Promise<unknown[]>
      }
      const OnLoad = encryptedModel(`OnLoad${atOnce}`, { provider, decrypt: 'onLoad' })
      const Inserted = encryptedModel(`Inserted${atOnce}`, { provider })
      for (const Model of [Locked, OnLoad]) await Model.insertMany(Array.from({ length: records }, values))
      let locked: unknown[] = []
      let news: ReturnType<typeof values>[] = []
      kms.latencyMs = latencyMs
      const measured = await inRounds(
        rounds,
        {
          'Model.decrypt': () => Locked.decrypt(locked),
          onLoad: () => OnLoad.find(),
          cursor: () => readAll(OnLoad.find().cursor()),
          insertMany: () => Inserted.insertMany(news),
          find: () => plain.find(),
          'plain insertMany': () => plainInserted.insertMany(news),
          waits: () =>
            concurrently(atOnce, records, () =>
              provider.generateDataKey({ keyId: provider.keyId!, context: { Record: 'Bare/1' } }),
            ),
        },
        async () => {
          locked = await Locked.find()
          news = Array.from({ length: records }, values)
          for (const Model of [Inserted, plainInserted]) await Model.deleteMany()
        },
      )
      const leastMs = (latencyMs * records) / atOnce
      for (const [index, way] of ways.entries()) {
        const goal: Goal = { what: `${way}, ${atOnce} calls at once`, limit: limits[atOnce][index]! }
        goals.push(
          outcomeOf(
            goal,
            measured.map((round) => round[way].wallMs / leastMs),
          ),
        )
      }
      rows.push(
        ...([...ways, 'cursor', 'find', 'plain insertMany', 'waits'] as const).map((way) => [
          {
            cursor: 'onLoad, by a cursor',
            find: 'find, without encryption',
            'plain insertMany': 'insertMany, without encryption',
            waits: 'the calls alone',
          }[way as string] ?? way,
          `${atOnce}`,
          cell(
            measured.map((round) => round[way].wallMs),
            'ms',
          ),
          cell(
            measured.map((round) => round[way].cpuMs),
            'ms',
          ),
          summaryOf(measured.map((round) => round[way].wallMs / leastMs)).median.toFixed(2),
        ]),
      )
    }
    return {
      goals,
      tables: [{ head: ['', 'calls at once', 'time', 'client CPU', 'time / least'], rows }],
      notes: [
        `${records} records, a KMS that takes ${latencyMs} ms for each call. The least is latency × records / calls at once.`,
      ],
    }
  },
}
