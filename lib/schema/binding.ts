import { types } from 'node:util'
import type { SchemaType } from 'mongoose'
import type { Doc } from '../mongoose/host'

type AnyFunction = (...args: any[]) => unknown

/** Lets the functions of a definition see the record as `this`, as they would if the path were one of its own. */
export class Binding {
  readonly #owners = new WeakMap<object, Doc>()

  /** Has the functions see `record` where Mongoose calls them for `holder`, the document of a field's value. */
  own(holder: Doc, record: Doc): void {
    this.#owners.set(holder, record)
  }

  bind(type: SchemaType): void {
    const internals = type as SchemaType & {
      setters: AnyFunction[]
      getters: AnyFunction[]
      $immutableSetter?: AnyFunction
      defaultValue?: unknown
      originalRequiredValue?: unknown
    }
    // What keeps an immutable value is a setter as well, one that must see the open values. Mongoose may add it twice.
    const { immutable } = type.options ?? {}
    const keeper = internals.$immutableSetter?.name
    internals.setters = internals.setters
      .filter(({ name }) => keeper === undefined || name !== keeper)
      .map((setter) => this.#bound(setter))
    if (typeof immutable === 'function') {
      type.options.immutable = (scope: Doc) => immutable.call(this.#ownerOf(scope), this.#ownerOf(scope))
    }
    if (immutable) type.immutable(true)
    internals.getters = internals.getters.map((getter) => this.#bound(getter))
    const { defaultValue, originalRequiredValue } = internals
    if (typeof defaultValue === 'function' && defaultValue === type.options?.default) {
      const bound = this.#bound(defaultValue as AnyFunction)
      // Mongoose passes the document as the argument too.
      internals.defaultValue = (scope: Doc) => bound.call(scope, this.#ownerOf(scope))
    }
    // Over a copy, because `required()` puts its validator into the list.
    const validators = [...type.validators] as Array<{ type?: string; validator?: AnyFunction }>
    for (const validator of validators) {
      if (validator.type === 'required') {
        if (typeof originalRequiredValue === 'function') {
          const isRequired = this.#bound(originalRequiredValue as AnyFunction)
          type.required(false).required({ ...validator, isRequired } as never)
        }
      } else if (validator.validator) {
        validator.validator = this.#bound(validator.validator)
      }
    }
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
