import { inspect } from 'node:util'
import { OperationError } from '../errors'
import { isDocument } from '../mongoose/host'
import { nameOf } from '../record/identity'
import { Box } from '../schema/box'
import type { FieldHere } from '../schema/layout'
import { refuseOdd } from '../schema/type'
import type { BlindIndex, IndexKey } from '../search/value'
import { refusedBox } from './refusals'

/**
 * What stands in a filter in the place of a value that is asked for. It is made at once and ready later, when the index key is open: until
 * then it **throws when it is serialised to BSON**, so that whoever forgets to wait sends nothing.
 */
export class IndexValue {
  readonly #here: FieldHere
  readonly #box: Box
  #made: unknown

  constructor(here: FieldHere, box: Box) {
    this.#here = here
    this.#box = box
  }

  /** The name of the field that is asked for. */
  get field(): string {
    return this.#here.field.name
  }

  /** The value that is asked for: an upsert stores it where it finds none. */
  get box(): Box {
    return this.#box
  }

  /** @throws {KeyProviderError} when the KMS does not open the index key */
  async ready(): Promise<void> {
    if (this.#made !== undefined) return
    const { field, use, model } = this.#here
    const key = (await use.indexKey?.open()) as IndexKey
    const bytes = key.valueOf(nameOf(model), field.index as BlindIndex, this.#box.stored())
    this.#made = use.host.binary(bytes)
  }

  toBSON(): unknown {
    if (this.#made !== undefined) return this.#made
    throw new OperationError(
      'QUERY_REFUSED',
      `${this.field}: a query was to be sent before the index value that it asks for was made, so nothing was sent. Use a method of the model.`,
    )
  }

  toJSON(): undefined {
    return undefined
  }

  [inspect.custom](): string {
    return '<index value>'
  }
}

/**
 * The index value of what a filter compares a field with, cast as the field is.
 *
 * @throws {OperationError} QUERY_REFUSED; {RecordError} VALUE_NOT_AWAITED
 */
export function indexValueOf(here: FieldHere, value: unknown, place: string): IndexValue | null {
  const { field, use } = here
  if (!(value instanceof Box)) {
    refuseOdd(field, undefined, value)
    const cast = castFor(here, value, place)
    return cast === null || cast === undefined ? null : new IndexValue(here, Box.open(field, use, undefined, cast))
  }
  if (!value.isOpen && value.failure && !isDocument(value.owner)) throw value.failure
  if (!value.isOpen || value.field !== field) throw refusedBox(place, field.name)
  // What is compared is the value as it is now.
  return new IndexValue(here, Box.open(field, use, undefined, value.value()))
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
