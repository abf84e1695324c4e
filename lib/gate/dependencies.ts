import { RecordError } from '../errors'
import { fullPathOf } from '../mongoose/document'
import { type Doc, isStoredAlike, type Plain, schemaOf, valuesOf } from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { valueAt } from '../mongoose/plain'
import { contextOf } from '../record/context'
import { identityOf } from '../record/identity'
import { encryptedPartsOf } from '../record/staging'
import { StoredKeys } from '../schema/kept'
import type { Use } from '../schema/use'
import { usesOf } from '../schema/uses'
import { isScalar } from './conditions'
import type { Gate } from './gate'
import type { Plan } from './plan'
import { type Request, withoutUndefined } from './request'

/**
 * Keeps what encryption contexts depend on from being changed under the ciphertexts that are bound to it. Where the options are
 * functions, what they read of a record is only known when they are asked of it, so it is read.
 */

/**
 * @param found the record, where the write has read it
 * @throws {RecordError} CONTEXT_CHANGED
 */
export function guardDependencies(gate: Gate, request: Request, plan: Plan, found?: Plain): Promise<void> | undefined {
  if (!gate.isCustom || plan.isReplacement || plan.touched.length === 0) return undefined
  return guard(gate, request, plan, found)
}

async function guard(gate: Gate, request: Request, plan: Plan, found: Plain | undefined): Promise<void> {
  const written = new Set(plan.slots.map(({ box }) => box.use))
  const records = found ? [found] : gate.native.find(request.filter, findOptions(request))
  for await (const record of records as AsyncIterable<Plain> | Plain[]) {
    const touched = plan.touched.filter((path) => !isKept(gate, plan, path, record)).map(withoutPositions)
    for (const model of gate.models) {
      const path = dependencyAmong(touched, recordOf(model, record), written)
      if (path !== undefined) throw changed(gate, request, path)
    }
    if (request.method !== 'updateMany') return
  }
}

/** What of the paths the context of a record, or of a subdocument in it, was seen to depend on. */
function dependencyAmong(touched: readonly string[], record: Doc, written: ReadonlySet<Use>): string | undefined {
  for (const part of encryptedPartsOf(record)) {
    const prefix = part === record ? '' : `${fullPathOf(part)}.`
    for (const use of usesOf(schemaOf(part))) {
      const hasKeys = valuesOf(part)[use.keyPath] instanceof StoredKeys
      if (!use.isCustom || use.byOwner || !(hasKeys || written.has(use))) continue
      observe(use, part)
      const paths = [...use.contextDependencies].map((path) => `${prefix}${path}`).concat(...use.ownerDependencies)
      const found = paths.find((path) => touched.some((each) => each === path || each.startsWith(`${path}.`)))
      if (found !== undefined) return found
    }
  }
  return undefined
}

/** Whether an update sets a path to what it is. */
function isKept({ host }: Gate, { update }: Plan, path: string, record: Plain): boolean {
  const set = Array.isArray(update) ? undefined : update.$set
  const value = set?.[path]
  return Boolean(set && path in set && isScalar(value)) && isStoredAlike(host, value, valueAt(record, path))
}

/** Has the options read a record once, so that it is known what they read of it. */
function observe(use: Use, part: Doc): void {
  for (const generation of use.generations.values()) {
    try {
      contextOf(use, generation, identityOf(use.host, part), part)
    } catch {
      // A record that has no context cannot lose one; what was read up to there is known now.
    }
  }
}

function withoutPositions(path: string): string {
  return path
    .split('.')
    .filter((segment) => !/^(\d+|\$.*)$/.test(segment))
    .join('.')
}

function findOptions({ method, options }: Request): Plain {
  const { session, collation, hint, sort } = options
  // Of one record that is written, the others that its filter matches are not looked at.
  return withoutUndefined({ session, collation, hint, sort, limit: method === 'updateMany' ? undefined : 1 })
}

function changed(gate: Gate, { method }: Request, path: string): RecordError {
  return new RecordError(
    'CONTEXT_CHANGED',
    `${gate.place(method)}: the encryption context depends on ${path}, and the stored fields are bound to the context they were written ` +
      'under. Load the record, open it, and save it with the change, so that they are encrypted anew.',
  )
}
