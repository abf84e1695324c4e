/**
 * The lower median.
 *
 * @param times how often there is each number
 */
export function medianOf(times: ReadonlyMap<number, number>): number {
  const sorted = [...times].sort(([a], [b]) => a - b)
  const half = sorted.reduce((sum, [, many]) => sum + many, 0) / 2
  let sum = 0
  for (const [number, many] of sorted) {
    sum += many
    if (sum >= half) return number
  }
  return 0
}
