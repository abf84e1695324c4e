import { inFieldTerms } from '../gate/duplicates'
import { gateOf } from '../gate/passes'
import type { AnyModel, Plain } from '../mongoose/host'
import type { Send } from '../record/rewriting'

/** Past the gate: here envelopes are conditions. */
export const sendPast: Send = async (model, filter, update, options): Promise<{ matchedCount: number }> => {
  const gate = gateOf(model.collection)
  try {
    return await gate.native.updateOne(filter, update, options as never)
  } catch (error) {
    throw inFieldTerms([gate], error)
  }
}

/** An update of one record that is not sent yet. */
interface Waiting {
  readonly filter: Plain
  readonly update: Plain
  readonly settle: (answer: Promise<{ matchedCount: number }>) => void
}

/** How long an update waits for others, at most, in milliseconds: as long as one call to the KMS takes. */
const gatheringMs = 10

/**
 * The same for the updates of a job, each of another record. They are sent together, once a quarter of the records that are worked on wait for
 * it or no more have come for a while: most of what an update costs the client is what a command does. With more of them waiting, too few
 * would be left to keep the KMS busy.
 *
 * @param concurrency how many records are worked on at once
 */
export function sendingTogether(concurrency: number): Send {
  const enough = Math.ceil(concurrency / 4)
  let waiting: Waiting[] = []
  let isSending = false
  let timer: NodeJS.Timeout | undefined

  const look = (model: AnyModel) => {
    if (isSending || waiting.length === 0) return
    if (waiting.length < enough) timer ??= setTimeout(begin, gatheringMs, model)
    else begin(model)
  }
  const begin = (model: AnyModel) => {
    clearTimeout(timer)
    timer = undefined
    isSending = true
    // Others whose answers of the KMS have come in the same turn.
    setImmediate(() => void send(model))
  }
  const send = async (model: AnyModel) => {
    const batch = waiting
    waiting = []
    await sendBatch(model, batch)
    isSending = false
    look(model)
  }
  return (model, filter, update, options) => {
    // What is in a transaction is sent in it, one command at a time.
    if (options.session) return sendPast(model, filter, update, options)
    return new Promise((settle) => {
      waiting.push({ filter, update, settle })
      look(model)
    })
  }
}

/** The driver's `MongoBulkWriteError`. */
interface BulkFailure {
  readonly writeErrors: readonly { readonly index: number }[]
  readonly result: { readonly matchedCount: number }
}

/** Settles each, and never fails. */
async function sendBatch(model: AnyModel, batch: readonly Waiting[]): Promise<void> {
  const sendAlone = ({ filter, update }: Waiting) => sendPast(model, filter, update, {})
  const [only] = batch
  if (batch.length === 1 && only) {
    const answer = sendAlone(only)
    only.settle(answer)
    await answer.catch(() => {})
    return
  }
  const operations = batch.map(({ filter, update }) => ({ updateOne: { filter, update } }))
  let matched = 0
  let failed: ReadonlySet<number> = new Set()
  try {
    matched = (await gateOf(model.collection).native.bulkWrite(operations, { ordered: false })).matchedCount
  } catch (error) {
    const { writeErrors, result } = error as Partial<BulkFailure>
    // The server has refused all of them, or has not stored them as safely as is asked for.
    if (writeErrors?.length === 0) {
      for (const { settle } of batch) settle(Promise.reject(error))
      return
    }
    // Where nothing is said of any, as of what could not be sent together, each is asked for alone.
    matched = result?.matchedCount ?? 0
    failed = new Set(writeErrors?.map(({ index }) => index))
  }
  const isSure = matched === batch.length - failed.size
  for (const [index, each] of batch.entries()) {
    // Its own error is what it fails with alone.
    if (failed.has(index)) each.settle(sendAlone(each))
    else each.settle(isSure ? Promise.resolve({ matchedCount: 1 }) : answerOf(model, each, sendAlone))
  }
}

/** The counts of a batch do not say which records were found: a record that has what was sent was, and of others the same is sent again. */
async function answerOf(
  model: AnyModel,
  waiting: Waiting,
  sendAlone: (waiting: Waiting) => Promise<{ matchedCount: number }>,
): Promise<{ matchedCount: number }> {
  const { $set = {}, $unset = {} } = waiting.update as Record<string, Plain>
  const written = [
    ...Object.entries($set).map(([path, value]) => ({ [path]: { $eq: value } })),
    ...Object.keys($unset).map((path) => ({ [path]: { $exists: false } })),
  ]
  const stored = await gateOf(model.collection).native.findOne(
    { _id: waiting.filter._id, $and: written },
    { projection: { _id: 1 } },
  )
  return stored ? { matchedCount: 1 } : sendAlone(waiting)
}
