import { channel } from 'node:diagnostics_channel'
import type { withAudit } from '../kms/actor'
import type { AnyModel } from '../mongoose/host'

/** What the command line knows models and their jobs by, those of another copy of this library as well. */

/** On each function of this library; on one that is a job, with what {@link KnownJob} says. */
export const brand = Symbol.for('mongoose-kms-encrypted')

export interface KnownJob {
  /** Its name, whatever a model calls it. */
  readonly name: string
  /** Whether there can be anything to do for a model. */
  isFor(model: AnyModel): boolean
  /** Tells who acts: each copy of this library has that for itself. */
  readonly withAudit: typeof withAudit
}

/** Is told of each model when it is made, before Mongoose makes a collection and indexes for it. */
export const modelMade = channel('mongoose-kms-encrypted:model')
