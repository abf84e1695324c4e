import { RecordError } from '../errors'
import { type AnyModel, type Plain, topOf } from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { contextOf, learnDependencies } from '../record/context'
import { identify, nameOf } from '../record/identity'
import type { Use } from '../schema/use'
import { usesOf } from '../schema/uses'
import type { Gate } from './gate'
import type { Plan } from './plan'
import type { Request } from './request'

/**
 * Keeps what encryption contexts depend on from being changed under the ciphertexts that are bound to it. Where the options are
 * functions, what they read of a record is only known when they are asked of it, so it is read.
 */

/** Whether records must be read whole to encrypt for them: the options may read anything. */
export function needsWhole({ uses }: Gate): boolean {
  return [...uses].some(({ isCustom }) => isCustom)
}

/**
 * @param found the record, where the write has read it
 * @throws {RecordError} CONTEXT_CHANGED
 */
export async function guardDependencies(gate: Gate, request: Request, plan: Plan, found?: Plain): Promise<void> {
  if (!needsWhole(gate) || plan.isReplacement || plan.touched.length === 0) return
  const touched = new Set(plan.touched.map(topOf))
  for (const model of gate.models) learnDependencies(model, usesOf(model.schema))
  const records = found ? [found] : gate.native.find(request.filter, findOptions(request))
  for await (const record of records as AsyncIterable<Plain> | Plain[]) {
    for (const model of gate.models) {
      for (const use of usesOf(model.schema)) {
        if (!use.isCustom || use.byOwner || !hasKeys(record, use)) continue
        observe(use, model, record)
        const path = [...use.contextDependencies].find((dependency) => touched.has(dependency))
        if (path !== undefined) throw changed(gate, request, path)
      }
    }
    if (request.method !== 'updateMany') return
  }
}

function hasKeys(record: Plain, { keyPath }: Use): boolean {
  return Array.isArray(record[keyPath]) && record[keyPath].length > 0
}

/** Has the options read the record once, so that it is known what they read of it. */
function observe(use: Use, model: AnyModel, record: Plain): void {
  const doc = recordOf(model, record)
  for (const generation of use.generations.values()) {
    try {
      contextOf(use, generation, identify(use.host, nameOf(model), record._id), doc)
    } catch {
      // A record that has no context cannot lose one; what was read up to there is known now.
    }
  }
}

function findOptions({ options }: Request): Plain {
  const { session, collation, hint, sort } = options
  return Object.fromEntries(
    Object.entries({ session, collation, hint, sort }).filter(([, value]) => value !== undefined),
  )
}

function changed(gate: Gate, { method }: Request, path: string): RecordError {
  return new RecordError(
    'CONTEXT_CHANGED',
    `${gate.place(method)}: the encryption context depends on ${path}, and the stored fields are bound to the context they were written ` +
      'under. Load the record, open it, and save it with the change, so that they are encrypted anew.',
  )
}
