import { DecryptionError } from '../errors'
import { noteLoaded } from '../mongoose/document'
import { type Doc, type Plain, schemaOf, valuesOf } from '../mongoose/host'
import { Box } from '../schema/box'
import type { Field } from '../schema/fields'
import { envelopeAt, loadClear } from '../schema/type'
import type { Use } from '../schema/use'
import { usesOf } from '../schema/uses'
import { recordName } from './identity'

/**
 * What another library has stored of a record, read by the option `from`. Comes in: a document that was loaded, and the record as it was; goes
 * out: boxes of the values, where there are no envelopes. What cannot be read is an error on access, and stays as it is stored.
 */
export function readForeign(doc: Doc, stored: Plain): void {
  for (const use of usesOf(schemaOf(doc))) if (use.from) readUse(doc, use, stored)
}

function readUse(doc: Doc, use: Use, stored: Plain): void {
  const fields = [...use.fields.values()].filter(({ name }) => doc.isSelected(name))
  const boxes = foreignBoxes(doc, use, fields, stored)
  for (const [name, box] of boxes) {
    if (!box) continue
    valuesOf(doc)[name] = box
    noteLoaded(doc, name)
  }
}

/** The boxes of those fields that another library has values of, by their names. */
export function foreignBoxes(
  doc: Doc,
  use: Use,
  fields: readonly Field[],
  stored: Plain,
): ReadonlyMap<string, Box | undefined> {
  // Null says that there is no value, whatever there was before.
  const open = fields.filter((field) => stored[field.name] !== null && !envelopeAt({ field, use }, stored[field.name]))
  const isThere = [...use.fromPaths, ...open.map(({ name }) => name)].some((path) => stored[path] !== undefined)
  if (open.length === 0 || !isThere) return new Map()
  const read = valuesFrom(doc, use, stored)
  return new Map(
    open.map((field) => {
      if (read.failure) return [field.name, Box.spoilt(field, use, doc, read.failure)]
      const value = read.values[field.name] ?? undefined
      // What it says nothing of is not taken for a value in the clear: it may be ciphertext.
      if (value === undefined && stored[field.name] === undefined) return [field.name, undefined]
      const box = value === undefined ? undefined : loadClear({ field, use }, doc, value, stored)
      return [field.name, box ?? Box.spoilt(field, use, doc, undefined)]
    }),
  )
}

function valuesFrom(doc: Doc, use: Use, stored: Plain): { values: Plain; failure?: DecryptionError } {
  // Of what is encrypted here it knows nothing.
  const theirs = { ...stored }
  for (const field of use.fields.values()) if (envelopeAt({ field, use }, stored[field.name])) delete theirs[field.name]
  try {
    return { values: Object(use.from?.(theirs)) }
  } catch (cause) {
    return { values: {}, failure: failed(doc, cause) }
  }
}

function failed(doc: Doc, cause: unknown): DecryptionError {
  return new DecryptionError(
    'FROM_FAILED',
    `${recordName(doc)}: the option from could not read what another library has stored, and that stays as it is. See the cause.`,
    { cause },
  )
}

/** The paths of another library that are stored and of no use any more, once all values of a document that it holds are written. */
export function uselessPaths(doc: Doc): string[] {
  const values = valuesOf(doc)
  return usesOf(schemaOf(doc)).flatMap((use) => {
    const isKnown = [...use.fields.keys()].every((name) => {
      const box = values[name]
      return box instanceof Box ? box.isOpen || box.lastEnvelope || box.source : doc.isSelected(name)
    })
    return isKnown ? use.fromPaths.filter((path) => values[path] !== undefined) : []
  })
}
