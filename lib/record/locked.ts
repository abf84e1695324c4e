import { inspect } from 'node:util'
import { type PlaceName, RecordError, textOf } from '../errors'

/**
 * What the getter of a locked field gives: a promise that does nothing until it is awaited. Whoever merely touches
 * it (an inspector, an equality check, a clone) sends nothing to the KMS and causes no unhandled rejection.
 */
export class LockedValue<T> implements Promise<T> {
  readonly #place: PlaceName
  readonly #open: () => Promise<T>
  #opened: Promise<T> | undefined

  /** @param place names the field for messages, such as `User/65f0… email` */
  constructor(place: PlaceName, open: () => Promise<T>) {
    this.#place = place
    this.#open = open
    // Assigning to a part of a value that is not there yet must fail, not vanish: `record.address.city = …`.
    Object.freeze(this)
  }

  // biome-ignore lint/suspicious/noThenProperty: being awaited is what this class is for
  then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#opened ??= this.#open()
    return this.#opened.then(onFulfilled, onRejected)
  }

  catch<B = never>(onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<T | B> {
    return this.then(undefined, onRejected)
  }

  finally(onFinally?: (() => void) | null): Promise<T> {
    return this.then().finally(onFinally)
  }

  /**
   * It is no value: `user.email + ''`, a template string, a comparison or a sum would go on with nonsense.
   *
   * @throws {RecordError} VALUE_NOT_AWAITED
   */
  [Symbol.toPrimitive](): never {
    throw new RecordError(
      'VALUE_NOT_AWAITED',
      `${textOf(this.#place)}: the record is locked, and this is a promise of the value. Await it before you use it.`,
    )
  }

  toString(): never {
    return this[Symbol.toPrimitive]()
  }

  toLocaleString(): never {
    return this[Symbol.toPrimitive]()
  }

  /**
   * Left out of JSON, like the field itself, for which `JSON.stringify()` gives where it stands. Who gives nothing, such as Jest, shows it to
   * people.
   */
  toJSON(key?: string): string | undefined {
    return key === undefined ? this[inspect.custom]() : undefined
  }

  get [Symbol.toStringTag](): string {
    return 'LockedValue'
  }

  [inspect.custom](): string {
    return `<${textOf(this.#place)}: locked. Await it, or first await decrypt() of its record>`
  }
}
