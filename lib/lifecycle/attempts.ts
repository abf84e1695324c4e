import { gateOf } from '../gate/passes'
import type { AnyModel, Doc, Plain } from '../mongoose/host'
import { rewriteStored } from '../record/rewriting'

/**
 * Does its work for a record that a job has read, and again where another write came between; see {@link rewriteStored}.
 *
 * @param options of the reading: the session, where there is one
 * @returns whether anything was done, which for a record that is gone was not
 */
export async function rewriteRead(
  model: AnyModel,
  read: Plain,
  deed: string,
  attempt: (fresh: Doc, stored: Plain, isAgain: boolean) => Promise<boolean | undefined>,
  options: Plain = {},
): Promise<boolean> {
  const readAgain = () => gateOf(model.collection).native.findOne({ _id: read._id }, options)
  return (await rewriteStored(model, read, readAgain, deed, attempt)) ?? false
}
