import type { Plain } from '../mongoose/host'

/** A write of one record as it was asked for. */
export interface Request {
  readonly method: string
  readonly filter: Plain
  readonly update: unknown
  readonly options: Plain
  /** Sends it, by the driver's own method. */
  readonly send: (filter: Plain, update: unknown, options: Plain) => Promise<any>
}
