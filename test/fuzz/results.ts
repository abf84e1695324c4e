import type { Forms } from './forms'

/** What can be compared of a result: counts and texts as they are, documents by what is in the clear. */
export function resultOf(value: any, forms: Forms): unknown {
  if (Array.isArray(value))
    return { length: value.length, ...Object.fromEntries(value.map((each, index) => [index, resultOf(each, forms)])) }
  if (typeof value?.$set === 'function') return { n: value.get('n') ?? null, name: value.get('name') ?? null }
  if (value?.lastErrorObject) return resultOf(value.value, forms)
  if (value !== null && typeof value === 'object' && '_id' in value)
    return { n: value.n ?? null, name: value.name ?? null }
  return value === undefined ? null : forms.of(value)
}

/** Records in an order that is the same on both twins. */
export function sorted(records: any[]): any[] {
  const text = (record: any) => JSON.stringify([record._id, record.n, record])
  return [...records].sort((one, other) => (text(one) < text(other) ? -1 : 1))
}

export function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

/** Which paths of a record, or how many records, changed: never what they hold. */
export function describeChange(before: any[], after: any[]): string {
  if (before.length !== after.length) return `${before.length} records became ${after.length}`
  const index = before.findIndex((record, each) => !same(record, after[each]))
  const keys = Object.keys({ ...before[index], ...after[index] })
  return keys.filter((key) => !same(before[index][key], after[index][key])).join(', ')
}
