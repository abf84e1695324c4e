/** What all of them give; the error of the first that fails, after the others, none of which is left unawaited. */
export async function allInOrder<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  if (promises.length === 1) return [await (promises[0] as Promise<T>)]
  return valuesOf(await Promise.allSettled(promises))
}

/**
 * How a task ends for each of many, where no more than `limit` are under way at once. After an outcome that is the last
 * one no other is begun: what was under way is awaited, and the rest left out.
 */
export async function settleEach<T, R>(
  items: readonly T[],
  limit: number,
  task: (item: T) => Promise<R>,
  isLast: (outcome: PromiseSettledResult<R>) => boolean,
): Promise<PromiseSettledResult<R>[]> {
  const outcomes: PromiseSettledResult<R>[] = []
  let next = 0
  const work = async () => {
    while (next < items.length) {
      const index = next++
      const outcome = await outcomeOf(task(items[index] as T))
      outcomes[index] = outcome
      if (isLast(outcome)) next = items.length
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, work))
  return outcomes
}

/**
 * How many tasks to have under way for so many calls at a time: half as many again, so that a place that comes free is taken at once, while
 * others do what comes before and after their call.
 */
export function keepingBusy(concurrency: number): number {
  return Math.ceil(1.5 * concurrency)
}

/** How a promise ends. */
export async function outcomeOf<T>(promise: Promise<T>): Promise<PromiseSettledResult<T>> {
  try {
    return { status: 'fulfilled', value: await promise }
  } catch (reason) {
    return { status: 'rejected', reason }
  }
}

/** What all of them gave; or the error of the first that failed is thrown. */
export function valuesOf<T>(outcomes: readonly PromiseSettledResult<T>[]): T[] {
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason
    return outcome.value
  })
}
