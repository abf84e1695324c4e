import { localKms } from '../lib'
import { type BlindIndex, compileCompounds, compileIndex } from '../lib/search/declaration'
import { indexKeySource } from '../lib/search/indexkey'
import type { IndexKeys } from '../lib/search/value'

/** What has to hold for the index values that are stored, whoever has written them. */

/** The blind indexes that options of the plugin declare. */
export function indexesIn(fields: Record<string, any>, blindIndexes?: unknown): BlindIndex[] {
  const indexed = (name: string) => ({ name, instance: nameOfType(fields[name]?.type ?? fields[name]) })
  const single = Object.entries(fields).map(([name, field]) =>
    compileIndex(indexed(name), field?.blindIndex, field?.unique),
  )
  return [...single, ...compileCompounds(blindIndexes, indexed)].filter((index) => index !== undefined)
}

/** The index keys that uses with `localKms()` have. */
export function localIndexKeys(secret?: string): Promise<IndexKeys> {
  return indexKeySource(localKms(secret === undefined ? {} : { secret }), undefined, () => true).open()
}

/**
 * Says what is wrong with an index value: it stands beside the fields of its index exactly if all of them have values, and is that of these
 * values, in each live version.
 *
 * @param raw a record or subdocument as it is stored
 * @param open the same with its values
 * @param valuesOf makes the index values of values
 */
export function indexProblem(
  { fields, path, versions }: BlindIndex,
  raw: any,
  open: any,
  valuesOf: (values: unknown[]) => Buffer[],
): string | undefined {
  const isWhole = fields.every((name) => (raw[name] ?? null) !== null)
  const stored = raw[path]
  if (!isWhole) return stored === undefined ? undefined : 'an index value is left where a field has no value'
  if (stored === undefined) return 'there is no index value'
  const values = valuesOf(fields.map((name) => open?.[name]))
  const expected = values.map((value, index) => `${versions[index]?.subtype} ${value.toString('hex')}`)
  const found = [stored].flat().map(textOf)
  if (found.join() === expected.join() && Array.isArray(stored) === versions.length > 1) return undefined
  return found.length === expected.length ? 'an index value is that of another value' : 'a version has no index value'
}

/** A binary by its subtype, which tells the version, and its bytes. */
function textOf(value: any): string {
  if (value?._bsontype !== 'Binary') return '?'
  return `${value.sub_type} ${Buffer.from(value.buffer.subarray(0, value.position)).toString('hex')}`
}

/** `String`, or the class of a schema type, whose own name differs. */
function nameOfType(type: any): string {
  return type?.schemaName ?? type?.name
}
