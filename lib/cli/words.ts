/** What KMS asks for 10,000 requests. */
const usdPer10000 = 0.03

export function withPlural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/** What so many calls to KMS cost, about: prices differ by region, and some calls are free. */
export function costOf(calls: number): { usd: number; text: string } {
  const usd = Number(((calls * usdPer10000) / 10_000).toFixed(6))
  const amount = usd === 0 ? '$0' : usd < 0.01 ? 'less than $0.01' : `about $${usd.toFixed(2)}`
  return {
    usd,
    text: calls === 0 ? amount : `${amount} at $${usdPer10000} for 10,000 (an estimate: prices differ by region)`,
  }
}
