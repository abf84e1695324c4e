import type { Host, Plain } from '../mongoose/host'

/** The BSON types that an `_id` can have, by their numbers, as MongoDB sorts them. What stands together is compared by value. */
const order: readonly (readonly number[])[] = [
  [-1], // MinKey
  [10], // null
  [1, 16, 18, 19], // double, int32, int64, Decimal128
  [2, 14], // string, symbol
  [3], // object
  [5], // bytes
  [7], // ObjectId
  [8], // boolean
  [9], // date
  [17], // timestamp
  [12], // DBPointer
  [13], // code
  [15], // code with scope
  [127], // MaxKey
]

const numbers = order.findIndex((group) => group.includes(1))

/** The condition for all records behind one, in the order of `_id`. A comparison alone leaves out those with an `_id` of another type. */
export function behind(host: Host, id: unknown): Plain {
  const later = order.slice(groupOf(host, id) + 1).flat()
  // Behind what is no number are all numbers, and none is greater.
  const above = { _id: Number.isNaN(id) ? { $gte: Number.NEGATIVE_INFINITY } : { $gt: id } }
  return later.length > 0 ? { $or: [above, { _id: { $type: later } }] } : above
}

/** The condition for all others: those up to it, and itself. */
export function notBehind(host: Host, id: unknown): Plain {
  const group = groupOf(host, id)
  const earlier = order.slice(0, group).flat()
  const upTo: Plain[] = [{ _id: { $lte: id } }, ...(earlier.length > 0 ? [{ _id: { $type: earlier } }] : [])]
  // What is no number comes before all numbers, and is less than none of them.
  return { $or: group === numbers ? [...upTo, { _id: Number.NaN }] : upTo }
}

function groupOf({ serialize }: Host, id: unknown): number {
  const type = Buffer.from(serialize({ v: id })).readInt8(4)
  return order.findIndex((group) => group.includes(type))
}
