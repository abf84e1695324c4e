import type { AnyModel, Doc } from './host'
import { openFields, readField } from './opening'
import { toPlain } from './plain'
import { recordsOf } from './records'
import { openValuesOf } from './sealing'

/** The fields, decrypted, in the shape of plain objects. */
export async function decryptRecord(doc: Doc): Promise<Record<string, unknown>> {
  const plain: Record<string, unknown> = {}
  await Promise.all(
    recordsOf(doc).map(async (record) => {
      const names = [...record.config.fields.byName.keys()]
      await openFields(record, names)
      for (const name of names) plain[name] = toPlain(readField(record, name))
    }),
  )
  return plain
}

/** A document as if all of it were stored in the clear: what another record with its values is made of. */
export async function contentOf(doc: Doc): Promise<Record<string, unknown>> {
  return { ...clearPartOf(doc), ...(await fieldsOf(doc)) }
}

/** The encrypted fields that a document has, in the shape in which they would be stored in the clear. */
export async function fieldsOf(doc: Doc): Promise<Record<string, unknown>> {
  const fields: Record<string, unknown> = {}
  for (const record of recordsOf(doc)) {
    await openFields(record, record.config.fields.byName.keys())
    Object.assign(fields, openValuesOf(record))
  }
  return fields
}

/** The paths of a document that are not encrypted, in the shape in which they are stored. */
export function clearPartOf(doc: Doc): Record<string, unknown> {
  return doc.toObject({
    transform: false,
    virtuals: false,
    depopulate: true,
    flattenDecimals: false,
    flattenMaps: false,
  } as never)
}

/** Mongoose 8 turns a document that is given as an update into an object before any hook or method sees it. */
export const origins = new WeakMap<object, Doc>()

/** The document that was given as the content of a write, if it was one. */
export function documentGiven(model: AnyModel, content: unknown): Doc | undefined {
  if (content === null || typeof content !== 'object') return undefined
  return content instanceof model ? (content as unknown as Doc) : origins.get(content)
}
