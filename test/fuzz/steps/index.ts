import type { Code } from '../code'
import type { Draw } from '../draw'
import { creating } from './creating'
import { documents } from './documents'
import { reading } from './reading'
import { updating } from './updating'

/** One call of the public API, or a few that belong together, as source code. */
export interface Step {
  readonly kind: string
  readonly source: Code
}

const all = { ...creating, ...documents, ...updating, ...reading }

/** What the ordinary application does most is drawn most; the rest as often as anything else. */
const weights: Readonly<Record<string, number>> = {
  ...Object.fromEntries(Object.keys(all).map((kind) => [kind, 1])),
  create: 4,
  'new, save': 3,
  'change, save': 6,
  'set, save': 3,
  save: 2,
  updateOne: 4,
  findOneAndUpdate: 3,
  updateMany: 2,
  bulkWrite: 3,
  insertMany: 2,
  findOne: 3,
  findById: 2,
  'ask by value': 3,
  transaction: 2,
  deleteMany: 0.3,
  deleteOne: 0.5,
  'document.deleteOne': 0.4,
  'Model.useConnection': 0.3,
}

/** Calls in which Mongoose changes no value by setters; this library does in all. */
const uncast = new Set([
  'aggregate',
  'aggregate $merge',
  'insertMany, lean',
  'Model.collection, read',
  'Model.collection, written',
  'put back',
])

/** The kinds of steps, for a report that shows which were never drawn. */
export const kindsOfSteps: readonly string[] = Object.keys(all)

/** The steps of a sequence: a record or two first, then anything. */
export function drawSteps(draw: Draw): Step[] {
  const first = ['create', draw.random.pick(['create', 'insertMany', 'new, save'])]
  const rest = Array.from({ length: 4 + draw.random.below(9) }, () => draw.random.weighted(weights))
  return [...first, ...rest].map((kind) => {
    draw.isCast = !uncast.has(kind)
    return { kind, source: all[kind as keyof typeof all]!(draw) }
  })
}
