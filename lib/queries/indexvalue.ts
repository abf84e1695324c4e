import { inspect } from 'node:util'
import { OperationError } from '../errors'
import { isDocument } from '../mongoose/host'
import { nameOf } from '../record/identity'
import { Box } from '../schema/box'
import type { FieldHere } from '../schema/layout'
import { refuseOdd } from '../schema/type'
import { indexKeyUseOf } from '../schema/uses'
import { Approximate } from '../search/approximate'
import type { BlindIndex } from '../search/declaration'
import type { IndexKeySource } from '../search/indexkey'
import { encodeIndexValue, type IndexKeys } from '../search/value'
import { refusedBox } from './refusals'

/** What a filter asks an index for: the values of its fields, and an index value of each live version. */
export class Asked {
  /** The newest version first. */
  readonly values: readonly IndexValue[]
  /** The values that are asked for, in the order of the index's fields: an upsert stores them where it finds none. */
  readonly boxes: readonly Box[]
  readonly #heres: readonly FieldHere[]
  readonly #index: BlindIndex
  /** Whether it is enough to find what has the same index value. */
  readonly isApproximate: boolean
  #made: readonly unknown[] | undefined

  constructor(index: BlindIndex, heres: readonly FieldHere[], boxes: readonly Box[], isApproximate: boolean) {
    this.#index = index
    this.isApproximate = isApproximate
    this.#heres = heres
    this.boxes = boxes
    this.values = index.versions.map((_version, position) => new IndexValue(this, position))
  }

  get index(): BlindIndex {
    return this.#index
  }

  /** The first field. All are of one record or subdocument, and one use of the plugin. */
  get here(): FieldHere {
    return this.#heres[0] as FieldHere
  }

  /** Whether it is asked of a subdocument. */
  get isWithin(): boolean {
    return this.here.within !== ''
  }

  /** @throws {KeyProviderError} when the KMS does not open the index key */
  async ready(): Promise<void> {
    if (this.#made === undefined) this.#make((await this.#keys?.open()) as IndexKeys)
  }

  /** Makes the index values at once, if the index key is open: most often it is, and nobody has to wait. What fails then fails later, too. */
  isReady(): boolean {
    const keys = this.#keys?.opened
    try {
      if (keys && this.#made === undefined) this.#make(keys)
    } catch {
      // A reader is told, and not whoever asks for a cursor.
    }
    return this.#made !== undefined
  }

  get #keys(): IndexKeySource | undefined {
    return indexKeyUseOf(this.here.use, this.here.record).indexKey
  }

  #make(keys: IndexKeys): void {
    const { use, model, within } = this.here
    const { binary } = use.host
    const stored = this.boxes.map((box) => box.stored())
    const bytes = keys.valuesOf(nameOf(model), `${within}${this.#index.name}`, this.#index, stored)
    this.#made = bytes.map((_each, position) => encodeIndexValue(this.#index, bytes, position, binary))
  }

  /** What is sent for one version. */
  made(position: number): unknown {
    if (this.#made !== undefined) return this.#made[position]
    throw new OperationError(
      'QUERY_REFUSED',
      `${this.#index.name}: a query was to be sent before the index value that it asks for was made, so nothing was sent. Use a method of the model.`,
    )
  }
}

/** What stands in a filter for one of the values of what is asked for, and shows nothing of it. */
export abstract class AskedValue {
  readonly asked: Asked
  readonly #position: number

  constructor(asked: Asked, position: number) {
    this.asked = asked
    this.#position = position
  }

  protected abstract valueAt(position: number): unknown

  toBSON(): unknown {
    return this.valueAt(this.#position)
  }

  toJSON(): undefined {
    return undefined
  }

  [inspect.custom](): string {
    return '<value>'
  }
}

/**
 * The index value of one live version. It is made at once and ready later, when the index key is open: until then it **throws when it is
 * serialised to BSON**, so that whoever forgets to wait sends nothing.
 */
export class IndexValue extends AskedValue {
  protected valueAt(position: number): unknown {
    return this.asked.made(position)
  }
}

/** The value of one field as it was stored in the clear, where records of that kind are found, too. */
export class ClearValue extends AskedValue {
  protected valueAt(position: number): unknown {
    return this.asked.boxes[position]?.stored()
  }
}

/**
 * What is asked for, in the clear: of each, the values of the index's fields.
 *
 * @param values index values; anything else stands for itself
 */
export function clearValues(values: readonly unknown[]): readonly (readonly unknown[])[] {
  const asked = new Set(values.map((value) => (value instanceof IndexValue ? value.asked : value)))
  return Array.from(asked, (each) =>
    each instanceof Asked ? each.boxes.map((_box, position) => new ClearValue(each, position)) : [each],
  )
}

/**
 * What a filter asks an index for by values of its fields, cast as the fields are; `null` where one of them is.
 *
 * @throws {OperationError} QUERY_REFUSED; {RecordError} VALUE_NOT_AWAITED
 */
export function askedFor(
  index: BlindIndex,
  heres: readonly FieldHere[],
  values: readonly unknown[],
  place: string,
): Asked | null {
  let isApproximate = false
  const boxes: Box[] = []
  for (const [position, here] of heres.entries()) {
    let value = values[position]
    if (value instanceof Approximate) {
      isApproximate = true
      value = value.value
    }
    const box = boxFor(here, value, place)
    if (box === null) return null
    boxes.push(box)
  }
  return new Asked(index, heres, boxes, isApproximate)
}

/** @throws as `askedFor` does, where a value cannot be asked for */
export function checkCast(here: FieldHere, value: unknown, place: string): void {
  boxFor(here, value instanceof Approximate ? value.value : value, place)
}

function boxFor(here: FieldHere, value: unknown, place: string): Box | null {
  const { field, use } = here
  if (!(value instanceof Box)) {
    refuseOdd(field, undefined, value)
    const cast = castFor(here, value, place)
    return cast === null || cast === undefined ? null : Box.open(field, use, undefined, cast)
  }
  if (!value.isOpen && value.failure && !isDocument(value.owner)) throw value.failure
  if (!value.isOpen || value.field !== field) throw refusedBox(place, field.name)
  // What is compared is the value as it is now.
  return Box.open(field, use, undefined, value.value())
}

function castFor({ field }: FieldHere, value: unknown, place: string): unknown {
  try {
    return field.inner?.applySetters(value, undefined)
  } catch {
    // Mongoose's message would hold the value.
    throw new OperationError(
      'QUERY_REFUSED',
      `${place}: the value for ${field.name} cannot be cast to ${field.inner?.instance}.`,
    )
  }
}
