import { type Forms, unreadable } from './forms'
import type { Shape } from './shape'
import type { Subject } from './subject'

/** How a record is read anew: all of them must give the same. */
export type Way = 'decrypt' | 'lean' | 'getters'
export const ways: readonly Way[] = ['decrypt', 'lean', 'getters']

const isEnvelope = (value: any): boolean => value?._bsontype === 'Binary' && value.sub_type === 0x80

/**
 * The records of an encrypted model in the form that the twin stores: every envelope in the raw document is replaced
 * by what the library reads there, from a document or lean object that is loaded for it.
 */
export async function openedRecords(subject: Subject, shape: Shape, forms: Forms, way: Way): Promise<unknown[]> {
  if (way === 'lean') {
    const leans = await openedLeans(subject, shape)
    return leans.map((lean: unknown) => forms.of(withoutCiphertext(lean, shape.hasKid)))
  }
  const docs = await allOf(subject, shape)
  const records: unknown[] = []
  for (const raw of subject.raws) {
    const doc = docs.find(({ _id }: any) => String(_id) === String(raw._id))
    if (!doc) throw new Error(`a find does not give the record ${raw._id}`)
    records.push(forms.of(await openedValue(raw, [], new Reader(doc, way))))
  }
  return records
}

/** All records as lean objects with the values of fields. */
export async function openedLeans({ Model, Kid }: Subject, shape: Shape): Promise<any[]> {
  const leans: any[] = await allOf({ Model }, shape).lean()
  return Promise.all(
    leans.map(async (lean) => {
      // What is in no schema of the record is refused rather than left as it is.
      const { schema } = lean.kind === 'kid' ? Kid : Model
      const isForeign = ([key, value]: [string, unknown]) => !schema.path(key) && isEnvelope(value) && isWritten(value)
      const foreign = Object.entries(lean).filter(isForeign)
      for (const [key] of foreign) delete lean[key]
      return { ...(await Model.decrypt(lean)), ...Object.fromEntries(foreign) }
    }),
  )
}

/** Fields are kept out of finds by `select: false`, some of them. */
function allOf({ Model }: Pick<Subject, 'Model'>, shape: Shape): any {
  const hidden = new Set(
    shape.fields.map(({ name, within }) =>
      within === 'byName' ? `byName.$*.${name}` : within ? `${within}.${name}` : name,
    ),
  )
  return Model.find().select([...hidden].map((path) => `+${path}`).join(' '))
}

/** A lean record, in which no ciphertext may be left. */
function withoutCiphertext(value: any, mayBeUnreadable: boolean): unknown {
  if (isEnvelope(value) && isWritten(value)) {
    if (mayBeUnreadable) return unreadable
    throw new Error('a ciphertext is left in a lean record')
  }
  if (Array.isArray(value)) return value.map((item) => withoutCiphertext(item, mayBeUnreadable))
  const isMap = value instanceof Map
  if (!isMap && (value === null || Object.getPrototypeOf(Object(value)) !== Object.prototype)) return value
  const entries = isMap ? [...value] : Object.entries(value)
  return Object.fromEntries(entries.map(([key, item]) => [key, withoutCiphertext(item, mayBeUnreadable)]))
}

/** A drawn binary of the same subtype begins with text, an envelope with the number of its suite. */
function isWritten({ buffer }: any): boolean {
  return (buffer[0] as number) < 0x20
}

async function openedValue(value: any, path: readonly string[], reader: Reader): Promise<unknown> {
  if (isEnvelope(value)) return reader.read(path)
  if (Array.isArray(value))
    return Promise.all(value.map((item, index) => openedValue(item, [...path, String(index)], reader)))
  if (value === null || typeof value !== 'object' || value._bsontype || value instanceof Date) return value
  const entries = Object.entries(value).map(
    async ([key, item]) => [key, await openedValue(item, [...path, key], reader)] as const,
  )
  return Object.fromEntries(await Promise.all(entries))
}

/** Reads fields of one document and of the subdocuments in it. */
class Reader {
  readonly #doc: any
  readonly #way: Way
  readonly #opened = new Map<unknown, Promise<any>>()

  constructor(doc: any, way: Way) {
    this.#doc = doc
    this.#way = way
  }

  async read(path: readonly string[]): Promise<unknown> {
    const name = path.at(-1) as string
    let owner = this.#doc
    for (const part of path.slice(0, -1)) owner = Array.isArray(owner) ? owner[Number(part)] : owner?.get(part)
    if (!owner) throw new Error(`a find does not give what is stored at ${path.join('.')}`)
    if (!owner.schema?.path(name)) return unreadable
    if (this.#way === 'getters') return owner.get(name)
    if (!this.#opened.has(owner)) this.#opened.set(owner, owner.decrypt())
    return (await this.#opened.get(owner))[name]
  }
}
