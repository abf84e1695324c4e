import { types } from 'node:util'
import type { SchemaType } from 'mongoose'
import type { Doc } from '../mongoose/host'
import { bindFunctions } from '../mongoose/schema'

type AnyFunction = (...args: any[]) => unknown

/** Lets the functions of a definition see the record as `this`, as they would if the path were one of its own. */
export class Binding {
  readonly #owners = new WeakMap<object, object>()

  /** Has the functions see `record`, a document or a lean one, where Mongoose calls them for `holder`, the document of a field's value. */
  own(holder: Doc, record: object): void {
    this.#owners.set(holder, record)
  }

  bind(type: SchemaType): void {
    bindFunctions(
      type,
      (fn) => this.#bound(fn),
      (scope) => this.#ownerOf(scope),
    )
  }

  #bound(fn: AnyFunction): AnyFunction {
    const ownerOf = (scope: object) => this.#ownerOf(scope)
    // `validateSync()` leaves out validators that are declared asynchronous.
    if (types.isAsyncFunction(fn)) {
      return async function (this: object, ...args: unknown[]) {
        return fn.apply(ownerOf(this), args)
      }
    }
    return function (this: object, ...args: unknown[]) {
      return fn.apply(ownerOf(this), args)
    }
  }

  #ownerOf(scope: object): object {
    return this.#owners.get(scope) ?? scope
  }
}
