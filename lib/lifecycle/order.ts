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

/** The condition for all records behind one, in the order of `_id`. A comparison alone leaves out those with an `_id` of another type. */
export function behind({ serialize }: Host, id: unknown): Plain {
  const type = Buffer.from(serialize({ v: id })).readInt8(4)
  const later = order.slice(order.findIndex((group) => group.includes(type)) + 1).flat()
  // Behind what is no number are all numbers, and none is greater.
  const above = { _id: Number.isNaN(id) ? { $gte: Number.NEGATIVE_INFINITY } : { $gt: id } }
  return later.length > 0 ? { $or: [above, { _id: { $type: later } }] } : above
}
