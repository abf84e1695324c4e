import { indexing, reading, writing } from './behaviours/commands'
import { expressions } from './behaviours/expressions'
import { filters } from './behaviours/filters'
import type { Behaviour } from './behaviours/table'
import { inserting, operators, refusals } from './behaviours/updates'

/**
 * What MongoDB documents, as a table. It runs against whichever server a test run uses: on the embedded server it
 * checks the server, on a real `mongod` it checks itself.
 */
export const behaviours: Behaviour[] = [
  ...filters,
  ...operators,
  ...refusals,
  ...inserting,
  ...writing,
  ...indexing,
  ...reading,
  ...expressions,
]
