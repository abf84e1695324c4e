import { jobs } from './jobs'
import { connectOwn } from './own'
import { type Program, run, type Start } from './program'
import { connect, failingKms, randomOf } from './record'

/** How many jobs of one process are under way at once. */
const strands = 2

/** One process that runs jobs over all records, with data keys of the newer version. */
async function main(program: Program, { shared, seed }: Start): Promise<void> {
  const random = randomOf(seed)
  // A job tries again, after a while, until it is not refused.
  const kms = failingKms(shared, 0.003, random, () => program.count('KMS calls of jobs refused'))
  const { connection, Tortured, Member, sent } = await connect(shared, 2, kms)
  const { connection: other, Own } = await connectOwn(shared, 2, kms)
  const keeping = {
    ...{ Tortured, Member, Own, random, signal: program.signal },
    count: (what: string, by: number) => program.count(what, by),
    failed: (kind: string, error: unknown) => program.failed(kind, error),
  }
  const kinds = Object.keys(jobs)
  let turn = Math.floor(random() * kinds.length)
  await program.work(strands, async () => {
    const kind = kinds[turn++ % kinds.length] as string
    await program.attempt(kind, () => jobs[kind]!(keeping))
    for (const found of sent.inTheClear.splice(0)) program.tell(`${kind}, or beside it: ${found}`)
  })
  await Promise.all([connection.close(), other.close()])
}

run(main)
