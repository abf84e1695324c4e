/** What some work took. */
export interface Cost {
  readonly wallMs: number
  /** Processor time of this process, without the server's. */
  readonly cpuMs: number
}

/** What the same work took without and with encryption, in one round. */
export interface Round {
  readonly plain: Cost
  readonly encrypted: Cost
}

export async function costOf(work: () => unknown): Promise<Cost> {
  const start = performance.now()
  const cpuStart = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(cpuStart)
  return { wallMs: performance.now() - start, cpuMs: (user + system) / 1000 }
}

/** Runs both by turns, so that whatever else the machine does hits both. The first round only warms up. */
export async function inRounds(
  rounds: number,
  work: Readonly<Record<keyof Round, () => Promise<void>>>,
  before?: () => Promise<void>,
): Promise<Round[]> {
  const measured: Round[] = []
  for (let round = 0; round <= rounds; round++) {
    await before?.()
    const costs = {} as Record<keyof Round, Cost>
    // Whoever came second in a round would otherwise always come second.
    for (const way of round % 2 === 0 ? (['plain', 'encrypted'] as const) : (['encrypted', 'plain'] as const)) {
      costs[way] = await costOf(work[way])
    }
    if (round > 0) measured.push(costs)
  }
  return measured
}

/** Does something so many times, and never more of it at a time. */
export async function concurrently(atOnce: number, times: number, work: () => Promise<unknown>): Promise<void> {
  let left = times
  const inTurn = async () => {
    while (left-- > 0) await work()
  }
  await Promise.all(Array.from({ length: atOnce }, inTurn))
}

export function median(numbers: number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function printRow([first, ...cells]: readonly [string, ...string[]]): void {
  console.log(first.padEnd(28) + cells.map((cell) => cell.padStart(13)).join(''))
}
