import type { Types } from 'mongoose'
import { type Audit, withAudit } from 'mongoose-kms-encrypted'
import { Erasure, Order, Person } from './person'

/** All that there is of a person, for the right of access and of data portability: articles 15 and 20. */
export function exportPerson(id: Types.ObjectId, audit: Audit) {
  return withAudit(audit, async () => {
    const person = await Person.findById(id).orFail()
    const orders = await Order.find({ person: id })
    return {
      person: { since: person.since, ...(await person.decrypt()) },
      orders: await Promise.all(orders.map(async ({ total, address }) => ({ total, address: await address }))),
    }
  })
}

/**
 * Erases a person, article 17. Without their wrapped keys nobody can read the ciphertexts any more, us included; without index values nobody
 * finds them, and the address is free. It can be called again when it has failed in between.
 */
export async function erasePerson(id: Types.ObjectId, by: string): Promise<void> {
  // First, so that an erasure that breaks off is on the list of those that are done again.
  await Erasure.updateOne({ _id: id }, { $setOnInsert: { by } }, { upsert: true })
  await erase([id])
}

/** After a backup was restored: it has the wrapped keys still. */
export async function eraseAgain(): Promise<void> {
  await erase(await Erasure.distinct('_id'))
}

async function erase(ids: readonly Types.ObjectId[]): Promise<void> {
  const results = [
    await Order.eraseKmsKey({ filter: { person: { $in: ids } } }),
    await Person.eraseKmsKey({ filter: { _id: { $in: ids } } }),
  ]
  const [failure] = results.flatMap(({ failures }) => failures)
  if (failure) throw new Error(`Not erased: ${failure.id}`, { cause: failure.error })
}
