import type { ClientSession, Connection } from 'mongoose'
import type { ErrorCode } from '../../lib'

/** What an operation is given: names and values of fields that are stored encrypted, in the clear, or of both. */
export const kinds = ['encrypted', 'clear', 'mixed'] as const
export type Kind = (typeof kinds)[number]

/**
 * What comes of it. `encrypted`: the values are stored as ciphertext of the record that the write reaches. `honoured`:
 * it means what it would for any other path. `as usual`: what Mongoose does anyway. `ignored`: what is given changes
 * nothing. A code: it is refused, and nothing is written.
 */
export type Outcome = 'encrypted' | 'honoured' | 'as usual' | 'ignored' | ErrorCode

/** Paths of the test models, one of each type, and values for them: `encrypted` and `clear` are twins. */
export interface Names {
  readonly text: string
  readonly number: string
  readonly list: string
  readonly nested: string
  readonly date: string
  /** A text with `select: false`. */
  readonly hidden: string
  /** All that is stored for the text. */
  readonly stored: readonly string[]
  readonly storedHidden: readonly string[]
  /** The text of the record that is there before, and another one; of numbers, cities and dates the same. */
  readonly old: string
  readonly value: string
  readonly item: string
  readonly oldNumber: number
  readonly newNumber: number
  readonly oldCity: string
  readonly newCity: string
  readonly oldDate: Date
  readonly newDate: Date
}

export const encrypted: Names = {
  text: 'email',
  number: 'score',
  list: 'tags',
  nested: 'home',
  date: 'dob',
  hidden: 'pin',
  stored: ['email', 'encrypted_kms_key'],
  storedHidden: ['encrypted_kms_key', 'pin'],
  old: 'ada@example.org',
  value: 'lovelace@example.org',
  item: 'confidential',
  oldNumber: 3612.09375,
  newNumber: 7195.40625,
  oldCity: 'Marylebone',
  newCity: 'Ashley Combe',
  oldDate: new Date('1815-12-10T05:17:23.417Z'),
  newDate: new Date('1852-11-27T21:33:48.916Z'),
}

export const clear: Names = {
  text: 'nickname',
  number: 'age',
  list: 'labels',
  nested: 'address',
  date: 'since',
  hidden: 'code',
  stored: ['nickname'],
  storedHidden: ['code'],
  old: 'Countess',
  value: 'Enchantress',
  item: 'public',
  oldNumber: 36,
  newNumber: 7,
  oldCity: 'London',
  newCity: 'Ockham',
  oldDate: new Date(0),
  newDate: new Date(1),
}

/** What an operation runs against: two records, `Ada` with a value in every field and `Bob` with texts that are null. */
export interface World {
  readonly User: any
  /** Posts refer to their author. Only rows that name them have the model, and one post by Ada. */
  readonly Post: any
  readonly connection: Connection
  /** The session of the transaction, if there is one. */
  readonly options: { readonly session?: ClientSession }
  readonly kind: Kind
}

/** A record by its paths. */
export type Values = Record<string, unknown>

/** One operation, and what it does. */
export interface Row {
  /** As a user writes it. */
  readonly name: string
  /** What it does where it is given an encrypted field, and nothing but. */
  readonly encrypted: Outcome
  /** The same for a field in the clear; `as usual` unless it is named. */
  readonly clear?: Outcome
  /** The same for both at once; as for the encrypted one alone unless it is named. */
  readonly mixed?: Outcome
  /** What a reader should know besides. */
  readonly note?: string
  /** The first version of Mongoose that has the operation. */
  readonly since?: string
  /** What the operation is given. For `mixed`, the two are merged. */
  readonly given: (names: Names) => any
  readonly run: (world: World, given: any) => Promise<unknown>
  /** Whether it is about posts. */
  readonly posts?: true
  /** The changes that it makes, by the name of the record; `null` for one that is deleted. */
  readonly after?: (names: Names) => Record<string, Values | null>
  /** Whether fields that are not given go, as in a replacement. */
  readonly replaces?: boolean
  /** How often it asks the KMS besides once for each record that it writes encrypted fields of. */
  readonly opens?: number
  /** Whether a server that is no `mongod` may not have it: then only a refusal can be tested. */
  readonly needsMongod?: true
  /** What it returns. */
  readonly gives?: (names: Names) => unknown
}

/** Rows that belong together. */
export interface Section {
  readonly title: string
  readonly introduction: string
  readonly rows: readonly Row[]
}

/** What a row gives to its operation, or expects of it, for one kind of fields. */
export function forKind<T>(kind: Kind, make: (names: Names) => T): T {
  if (kind === 'mixed') return merge(make(encrypted), make(clear)) as T
  return make(kind === 'encrypted' ? encrypted : clear)
}

export function outcomeOf(row: Row, kind: Kind): Outcome {
  if (kind === 'encrypted') return row.encrypted
  if (kind === 'clear') return row.clear ?? 'as usual'
  return row.mixed ?? row.encrypted
}

/** Whether an outcome is a refusal, told by its code. */
export function isRefusal(outcome: Outcome): outcome is ErrorCode {
  return outcome === outcome.toUpperCase()
}

/** Objects path by path, lists one after the other without repetition; of anything else, the second. */
function merge(one: unknown, other: unknown): unknown {
  if (Array.isArray(one) && Array.isArray(other)) {
    const texts = new Set(one.map((item) => JSON.stringify(item)))
    return [...one, ...other.filter((item) => !texts.has(JSON.stringify(item)))]
  }
  if (!isPlain(one) || !isPlain(other)) return other
  const merged = { ...one }
  for (const [key, value] of Object.entries(other)) merged[key] = key in one ? merge(one[key], value) : value
  return merged
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
}
