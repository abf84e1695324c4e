/** What was measured in several rounds: the median, and between what the middle half of the rounds is. */
export interface Summary {
  readonly median: number
  readonly low: number
  readonly high: number
}

export function summaryOf(numbers: readonly number[]): Summary {
  const sorted = [...numbers].sort((a, b) => a - b)
  return { median: quantile(sorted, 0.5), low: quantile(sorted, 0.25), high: quantile(sorted, 0.75) }
}

export function median(numbers: readonly number[]): number {
  return summaryOf(numbers).median
}

/** Between two of the numbers, as far from either as its place is. */
function quantile(sorted: readonly number[], share: number): number {
  if (sorted.length === 0) throw new RangeError('nothing was measured')
  const place = (sorted.length - 1) * share
  const below = sorted[Math.floor(place)]!
  return below + (sorted[Math.ceil(place)]! - below) * (place % 1)
}
