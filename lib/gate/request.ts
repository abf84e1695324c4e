import type { Plain } from '../mongoose/host'

/** A write as it was asked for. */
export interface Request {
  readonly method: string
  readonly filter: Plain
  readonly update: unknown
  readonly options: Plain
}

/** A write that goes out alone, by the driver's own method. */
export interface Sending extends Request {
  readonly send: (filter: Plain, update: unknown, options: Plain) => Promise<any>
}

/** Options without those that are not given: the driver takes `undefined` for a value in some. */
export function withoutUndefined(given: Plain): Plain {
  const known: Plain = {}
  for (const key of Object.keys(given)) if (given[key] !== undefined) known[key] = given[key]
  return known
}

export function sessionOnly({ session }: Plain): Plain {
  return session ? { session } : {}
}
