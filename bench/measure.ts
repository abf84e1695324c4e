/** What some work took. */
export interface Cost {
  readonly wallMs: number
  /** Processor time of this process, without that of the database and the KMS. */
  readonly cpuMs: number
}

export async function costOf(work: () => unknown): Promise<Cost> {
  const start = performance.now()
  const cpuStart = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(cpuStart)
  return { wallMs: performance.now() - start, cpuMs: (user + system) / 1000 }
}

/** What each way to do the same work took, in one round. */
export type Round<Way extends string> = Readonly<Record<Way, Cost>>

/**
 * Rounds that only warm up: V8 compiles what runs often, and much of Mongoose, the driver and this library has not run often enough
 * after one. What is measured is a server that has been at it for a while.
 */
const warmUps = 5

/**
 * Runs all ways by turns, so that whatever else the machine does hits all of them. Nobody calls `gc()` in between: a full collection
 * has V8 throw away code that it has compiled.
 *
 * @param before is done before each, and not measured
 */
export async function inRounds<Way extends string>(
  rounds: number,
  work: Readonly<Record<Way, () => unknown>>,
  before?: () => Promise<unknown>,
): Promise<Round<Way>[]> {
  const ways = Object.keys(work) as Way[]
  const measured: Round<Way>[] = []
  for (let round = 0; round < warmUps + rounds; round++) {
    const costs = {} as Record<Way, Cost>
    // Whoever comes second in a round would otherwise always come second.
    for (const way of round % 2 === 0 ? ways : [...ways].reverse()) {
      await before?.()
      costs[way] = await costOf(work[way])
    }
    if (round >= warmUps) measured.push(costs)
  }
  return measured
}

/** Does something so many times, and never more of it at a time. */
export async function concurrently(
  atOnce: number,
  times: number,
  work: (number: number) => Promise<unknown>,
): Promise<void> {
  let next = 0
  const inTurn = async () => {
    while (next < times) await work(next++)
  }
  await Promise.all(Array.from({ length: atOnce }, inTurn))
}
