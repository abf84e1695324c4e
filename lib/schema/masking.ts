import { inspect } from 'node:util'
import type { SchemaType } from 'mongoose'
import { KmsEncryptedError } from '../errors'
import { type Host, isDocument } from '../mongoose/host'
import type { Field } from './fields'

/**
 * Mongoose's errors hold the value that they are about. Comes in: what the casts and validators of a field throw; goes out: the same errors,
 * without it. What functions of the application say by themselves stays.
 */

/** Stands for a value in an error. */
const hidden = Object.freeze({
  toString: () => '<encrypted>',
  toJSON: () => undefined,
  [inspect.custom]: () => '<encrypted>',
})

/** What errors of Mongoose's have, beside what TypeScript is told of. */
interface Told extends Error {
  kind: string
  value: unknown
  stringValue: string
  reason: unknown
  path: string
  properties: { message: string }
  setModel(model: undefined): void
}

/** Does what may throw an error with the value of a field. */
export function masking<T>(field: Field, scope: unknown, act: () => T): T {
  try {
    return act()
  } catch (error) {
    const told = masked(field, error, field.name)
    throw isDocument(scope) ? asCast(field.host, field.inner ?? { instance: 'Object', path: field.name }, told) : told
  }
}

/** The same for what is cast to something that holds subdocuments with fields. */
export function maskingCast<T>(host: Host, type: Typed, act: () => T): T {
  try {
    return act()
  } catch (error) {
    throw asCast(host, type, maskedCast(host, error))
  }
}

type Typed = Pick<SchemaType, 'instance' | 'path'>

/** What Mongoose would make of an error, with the value. */
function asCast({ mongoose }: Host, { instance, path }: Typed, error: unknown): unknown {
  const { CastError, StrictModeError } = mongoose.Error
  if (error instanceof CastError || error instanceof StrictModeError) return error
  return new CastError(instance, hidden, path, error as never)
}

/**
 * An error of Mongoose's, by now without the value.
 *
 * @param at the path that it is about: it knows only that in its subdocument
 */
export function masked<E>(field: Field, error: E, at: string): E | Error {
  const { CastError, ValidatorError } = field.host.mongoose.Error
  if (error instanceof ValidatorError) return withoutValue(error as never, (told) => validatorMessage(field, told, at))
  const { name, path } = Object(error) as { name?: string; path?: string }
  // Mongoose does not export their classes.
  if (name === 'ObjectExpectedError' || name === 'ObjectParameterError')
    return new CastError('Object', hidden, path ?? field.name)
  return maskedCast(field.host, error)
}

/** The same of a cast alone. */
function maskedCast<E>({ mongoose }: Host, error: E): E | Error {
  return error instanceof mongoose.Error.CastError ? withoutValue(error as never, castMessage) : error
}

/** The error itself, for Mongoose has marked it; its stack says the message once more. */
function withoutValue(error: Told, messageOf: (error: Told) => string): Error {
  const { message, stack } = error
  // That there is none is no secret.
  if ((error.value ?? null) === null) return error
  error.message = messageOf(error)
  error.value = hidden
  error.stack = stack?.replace(message, () => error.message)
  return error
}

function castMessage(error: Told): string {
  error.value = hidden
  error.stringValue = `"${hidden}"`
  // Such as that of an assertion, or of the cast of an element.
  if (!(error.reason instanceof KmsEncryptedError)) error.reason = undefined
  error.setModel(undefined)
  return error.message
}

/** The message anew by the template, or function, that it was made by; one that none has made is of the application's. */
function validatorMessage({ inner, complex, host, Holder }: Field, error: Told, at: string): string {
  const { ValidatorError } = host.mongoose.Error
  const { properties, message } = error
  const type = complex ? (Holder() as unknown as { schema: { path(path: string): unknown } }).schema.path(at) : inner
  const { validators = [] } = (type ?? {}) as { validators?: { message?: unknown }[] }
  const say = (template: unknown, value: unknown): string | undefined => {
    try {
      return new ValidatorError({ ...properties, value, message: template } as never).message
    } catch {
      // It is a function of the application's that asks for more.
      return undefined
    }
  }
  const template = validators.map((each) => each.message).find((each) => each && say(each, error.value) === message)
  const masked = template === undefined ? message : (say(template, hidden) ?? message)
  error.properties = Object.assign(properties, { value: hidden, message: masked })
  return masked
}
