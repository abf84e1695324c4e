import type { Mongoose } from 'mongoose'

type Plain = Record<string, any>

/** Record fields that differ between twins by their nature: times, versions, and what encryption adds. */
const own = /^(createdAt|updatedAt|__v|encrypted_kms_key.*|.*_bidx)$/

/** The nested object: Mongoose stores it as `{}` where nobody set it and nothing is minimised. */
const nested = 'address'
const anHourMs = 3_600_000

/**
 * Puts values into the form in which they are stored, with all BSON types told apart, so that twins can be compared.
 * Generated ids are all alike, and so are
 * dates of today: each twin makes its own.
 */
export class Forms {
  readonly #bson: Mongoose['mongo']['BSON']
  readonly #minimize: boolean
  readonly #foldsCase: boolean
  readonly #source: string
  readonly #now = Date.now()

  constructor(
    { mongo }: Mongoose,
    { minimize, foldsCase, source }: { minimize: boolean; foldsCase: boolean; source: string },
  ) {
    this.#bson = mongo.BSON
    this.#minimize = minimize
    this.#foldsCase = foldsCase
    this.#source = source
  }

  of(value: unknown): unknown {
    const bytes = this.#bson.serialize({ value }, { ignoreUndefined: true })
    return this.#form(this.#bson.deserialize(bytes, { promoteValues: false, promoteBuffers: false }).value)
  }

  #form(value: any): unknown {
    if (typeof value === 'string') {
      const text = this.#foldsCase ? value.toLowerCase() : value
      return text.replace(/\b[0-9a-f]{24}\b/g, (id) => this.#id(id))
    }
    if (value === null || typeof value !== 'object') return value
    if (Array.isArray(value)) return value.map((item) => this.#form(item))
    if (value instanceof Date)
      return Math.abs(value.getTime() - this.#now) < anHourMs ? 'date, now' : `date ${value.getTime()}`
    // Mongoose stores one as it is in updates, where this library stores the text that a save makes of it.
    if (value instanceof RegExp) return this.#form(String(value))
    if (value._bsontype) return this.#typed(value)
    const entries = Object.entries(value as Plain)
      .filter(([key]) => !own.test(key))
      .map(([key, item]) => [key, this.#form(item)] as const)
      .filter(([key, item]) => !(isEmpty(item) && (this.#minimize || key === nested)))
      .sort(([one], [other]) => (one < other ? -1 : 1))
    return Object.fromEntries(entries)
  }

  #id(text: string): string {
    return this.#source.includes(text) || text.startsWith('5eed') ? `id ${text}` : 'id, generated'
  }

  #typed(value: any): string {
    switch (value._bsontype) {
      case 'ObjectId':
        return this.#id(value.toHexString())
      case 'Binary':
        return `bytes ${value.sub_type} ${Buffer.from(value.buffer).subarray(0, value.position).toString('hex')}`
      case 'Int32':
      case 'Double':
      case 'Long':
        return `number ${value}`
      default:
        return `${value._bsontype} ${this.#bson.EJSON.stringify(value)}`
    }
  }
}

/** What a record of the base model holds in a field of the child: neither twin has a document that could read it. */
export const unreadable = 'in no schema of this record'

export interface Difference {
  readonly kind: 'missing' | 'extra' | 'other'
  readonly text: string
}

/** Says how two forms differ, at the first path where they do. */
export function difference(twin: unknown, encrypted: unknown, path = ''): Difference | undefined {
  if (isObject(twin) && Array.isArray(encrypted) && isList(twin))
    return difference(Object.values(twin), encrypted, path)
  if (/(^|\.)address$/.test(path) && isObject(twin)) {
    // Mongoose stores what is not declared where a Map or an instance of a class is given in an update.
    const declared = Object.entries(twin).filter(([key]) => key === 'city' || key === 'since')
    if (declared.length === 0 && encrypted === undefined) return undefined
    if (declared.length < Object.keys(twin).length) return difference(Object.fromEntries(declared), encrypted, path)
  }
  if (loose.test(path) && isObject(twin)) {
    const kept = Object.entries(twin).filter(
      ([key, item]) => item !== null || (encrypted as Plain)?.[key] !== undefined,
    )
    if (kept.length === 0 && encrypted === undefined) return undefined
    if (kept.length < Object.keys(twin).length) return difference(Object.fromEntries(kept), encrypted, path)
  }
  if (isObject(twin) && isObject(encrypted)) {
    // Whatever way a subdocument comes in, it gets an `_id` here: its key is bound to it.
    if (path !== '' && twin._id === undefined && encrypted._id === 'id, generated')
      return difference({ ...twin, _id: encrypted._id }, encrypted, path)
    for (const key of new Set([...Object.keys(twin), ...Object.keys(encrypted)])) {
      const found = difference(twin[key], encrypted[key], path === '' ? key : `${path}.${key}`)
      if (found) return found
    }
    return undefined
  }
  if (Array.isArray(twin) && Array.isArray(encrypted) && twin.length === encrypted.length) {
    return difference({ ...twin }, { ...encrypted }, path)
  }
  if (encrypted === unreadable || JSON.stringify(twin) === JSON.stringify(encrypted)) return undefined
  const kind = encrypted === undefined ? 'missing' : twin === undefined ? 'extra' : 'other'
  return {
    kind,
    text: `${path || 'it'} is ${kind}: the twin has ${shorten(twin)}, the encrypted record ${shorten(encrypted)}`,
  }
}

/** What is undefined within a Map or Mixed is left out here; Mongoose stores null in some calls, and nothing in others. */
const loose = /(^|\.)(meta|any)(\.|$)/

/** Mongoose stores an object with positions for its keys where one is set below an array that is not there. */
function isList(value: Plain): boolean {
  const keys = Object.keys(value)
  return keys.length > 0 && keys.every((key, index) => key === String(index))
}

function isObject(value: unknown): value is Plain {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

function isEmpty(value: unknown): boolean {
  return isObject(value) && Object.keys(value).length === 0
}

function shorten(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 160 ? `${text.slice(0, 160)}…` : text
}
