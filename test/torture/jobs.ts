import { pick, type Random } from './record'

/** What a keeper works with. */
export interface Keeping {
  readonly Tortured: any
  readonly Member: any
  readonly Own: any
  readonly random: Random
  readonly signal: AbortSignal
  count(what: string, by: number): void
  failed(kind: string, error: unknown): void
}

/** Every job over all records, by its name. */
export const jobs: Readonly<Record<string, (keeping: Keeping) => Promise<void>>> = {
  rotateAll: (keeping) => keep(keeping, 'rotateAll', 'rotateKmsKey', any(keeping)),
  /** Each part by one keeper at a time, who goes on where another was killed. */
  rotatePart: (keeping) =>
    keep(keeping, 'rotatePart', 'rotateKmsKey', any(keeping), {
      partition: { index: Math.floor(keeping.random() * 2), of: 2 },
      leaseMs: 2000,
    }),
  rewrapAll: (keeping) => keep(keeping, 'rewrapAll', 'rewrapKmsKey', any(keeping)),
  migrateAll: (keeping) => keep(keeping, 'migrateAll', 'migrateToKms', keeping.Own),
  backfillAll: (keeping) => keep(keeping, 'backfillAll', 'backfillBlindIndexes', any(keeping)),
  verifyAll: (keeping) => keep(keeping, 'verifyAll', 'verifyKms', any(keeping)),
}

/** Those that find something to do; index values are stored with every write, so there are none to make. */
export const writing = ['rotateAll', 'rotatePart', 'rewrapAll', 'migrateAll'] as const

function any({ Tortured, Member, Own, random }: Keeping): any {
  return pick(random, [Tortured, Tortured, Own, Own, Member])
}

async function keep(keeping: Keeping, kind: string, job: string, model: any, options: object = {}): Promise<void> {
  const { signal, Own } = keeping
  let before = 0
  // Told while it goes on: it may be killed before its end.
  const onProgress = ({ updated }: { updated: number }) => {
    keeping.count(`records changed by ${kind}`, updated - before)
    before = updated
  }
  const { failures } = await model[job]({ concurrency: 3, batchSize: 10, signal, onProgress, ...options })
  for (const { error } of failures) {
    // What is in the clear is for the migration.
    if (model === Own && job !== 'migrateToKms' && error.code === 'PLAINTEXT_FOUND') continue
    keeping.failed(kind, error)
  }
}
