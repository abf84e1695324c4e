import { type Doc, ServerError } from './errors'
import { field, isDoc } from './values'

/**
 * How far a path was followed: to its end (`settled`), or to an array, of which `rest` is still to be followed. `inner`
 * is an array that the path names by its position in another one, and that is then not taken apart.
 */
type Lead = { value: unknown; rest: string[]; settled: boolean; missing?: boolean; inner?: boolean }

const MISSING: Lead = { value: null, rest: [], settled: true, missing: true }

/**
 * The keys that a document has in an index or a sort over some paths, a value for each path: one key, or one for every
 * element of the array on the way of the paths. Arrays inside that array count whole. A missing field is null, an empty
 * array `undefined`. A sparse index has no key where all fields are missing.
 *
 * @throws {ServerError} 171 when the paths meet two different arrays
 */
export function keysOf(doc: Doc, paths: string[][], sparse = false): unknown[][] {
  return expand(
    paths.map((path) => follow(doc, path)),
    sparse,
  )
}

function follow(doc: Doc, path: string[]): Lead {
  let value: unknown = doc
  for (const [i, part] of path.entries()) {
    if (Array.isArray(value)) return { value, rest: path.slice(i), settled: false }
    value = isDoc(value) ? field(value, part) : undefined
    if (value === undefined) return MISSING
  }
  return { value, rest: [], settled: !Array.isArray(value) }
}

function expand(leads: Lead[], sparse: boolean): unknown[][] {
  const [array, ...others] = new Set(leads.filter(({ settled }) => !settled).map(({ value }) => value as unknown[]))
  if (others.length > 0) throw new ServerError(171, 'cannot index parallel arrays')
  if (array === undefined) {
    return sparse && leads.every(({ missing }) => missing) ? [] : [leads.map(({ value }) => value)]
  }
  const whole = array.length > 0 && leads.some(({ inner }) => inner)
  const places = leads.map(({ rest }) => place(array, rest))
  return (array.length === 0 ? [undefined] : array).flatMap((item) => {
    const next = leads.map((lead, i) => {
      if (lead.settled) return lead
      if (lead.rest.length === 0) return { value: whole ? array : item, rest: [], settled: true }
      if (!isDoc(item) || field(item, lead.rest[0]!) === undefined) return places[i] ?? MISSING
      if (places[i] === undefined) return follow(item, lead.rest)
      throw new ServerError(16746, `Ambiguous field name found in array, field: '${lead.rest[0]}'`)
    })
    return expand(next, sparse)
  })
}

/** Where a path leads from an array of which it names a position. */
function place(array: unknown[], path: string[]): Lead | undefined {
  const [position, ...rest] = path
  if (position === undefined || !/^(0|[1-9]\d*)$/.test(position) || Number(position) >= array.length) return undefined
  const item = array[Number(position)]
  if (Array.isArray(item)) return { value: item, rest, settled: false, inner: true }
  if (rest.length === 0) return { value: item, rest, settled: true }
  return isDoc(item) ? follow(item, rest) : MISSING
}
