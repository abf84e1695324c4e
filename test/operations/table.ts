import { creating } from './creating'
import { deleting } from './deleting'
import { carrying, filtering } from './filters'
import { updatingMany } from './many'
import { operators } from './operators'
import { projecting } from './projecting'
import { comparing, reading } from './reading'
import { replacingRecords } from './replacing'
import type { Section } from './row'
import { savingDocuments } from './saving'
import { storedEnvelopes, storedKeys } from './stored'
import { updating } from './updating'

/** What each operation does to fields that are encrypted. The tests run it, and docs/operations.md is made of it. */
export const table: readonly Section[] = [
  creating,
  savingDocuments,
  updating,
  updatingMany,
  replacingRecords,
  operators,
  storedKeys,
  storedEnvelopes,
  deleting,
  filtering,
  carrying,
  comparing,
  projecting,
  reading,
]
