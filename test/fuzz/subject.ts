import { compileFunction } from 'node:vm'
import type { Connection, Mongoose } from 'mongoose'
import { Invariant } from './invariant'
import type { Shape } from './shape'

/** A step that cannot be done, since no document is at hand. */
export class Skip extends Error {}

/** A document at hand. */
export interface Held {
  doc: any
  /** Its record was changed by somebody else since it was loaded. */
  stale: boolean
  /** The step under way has used it. */
  used: boolean
}

/** How the fields get onto a schema: by the plugin, or as they are. */
export type Encrypt = (schema: any, fields: object, options: object) => void

export interface SubjectOptions {
  readonly mongoose: Mongoose
  readonly connection: Connection
  readonly name: string
  readonly encrypt: Encrypt
  readonly shape: Shape
  readonly source: string
}

class Thing {
  constructor(readonly text: string) {}
}

class Filter {
  constructor(given: object) {
    Object.assign(this, given)
  }
}

class Abort extends Error {}

export const maxHeld = 4

/** One of the twins: its models, the documents at hand, and what the source of a step can name. */
export class Subject {
  readonly held: Held[] = []
  readonly Model: any
  readonly Kid: any
  readonly name: string
  readonly invariant = new Invariant()
  /** The stored documents, as they were before the step. */
  raws: any[] = []
  readonly #environment: Record<string, unknown>

  constructor({ mongoose, connection, name, encrypt, shape, source }: SubjectOptions) {
    this.name = name
    const { Types, Schema, mongo } = mongoose
    const ids = {
      ObjectId: (record: number) => new Types.ObjectId(`5eed${'0'.repeat(19)}${record}`),
      Number,
      String: (record: number) => `r${record}`,
    }
    const model = (schema: any) => connection.model(name, schema, name)
    const discriminator = (base: any, schema: any) => base.discriminator(`${name}Kid`, schema, 'kid')
    const defined = evaluate(`${source}\nreturn { Model, ${shape.hasKid ? 'Kid' : 'Kid: Model'} }`, {
      Schema,
      encrypt: (schema: any, fields: object, options: { blindIndexes?: unknown }) => {
        encrypt(schema, fields, options)
        this.invariant.note(schema, fields as Record<string, any>, options.blindIndexes)
      },
      model,
      discriminator,
      Types,
    })
    this.Model = defined.Model
    this.Kid = defined.Kid
    this.#environment = {
      Model: this.Model,
      Kid: this.Kid,
      Types,
      Schema,
      Binary: mongo.Binary,
      Thing,
      Filter,
      Abort,
      connection,
      id: ids[shape.idType],
      sub: (number: number) => new Types.ObjectId(`5eed5${'0'.repeat(18)}${number}`),
      doc: (number: number) => this.#use(number).doc,
      fresh: (number: number) => this.#fresh(number),
      hold: (doc: any) => this.#hold(doc),
      drop: (doc: any) => this.#drop(doc),
      open,
      raw: (number: number) => this.raws.find(({ n }) => n === number),
      found: (value: unknown) => value,
      shown: () => undefined,
      written,
      plain,
      other: () => connection.useDb(connection.name),
      settled,
      rotate,
      transaction: (work: (session: any) => Promise<unknown>) => connection.transaction(work),
    }
  }

  /** Runs a step. */
  async run(source: string): Promise<unknown> {
    for (const held of this.held) held.used = false
    return evaluate(`return (async () => { ${source} })()`, this.#environment)
  }

  #use(number: number): Held {
    if (this.held.length === 0) throw new Skip()
    const held = this.held[number % this.held.length] as Held
    held.used = true
    return held
  }

  async #fresh(number: number): Promise<any> {
    const held = this.#use(number)
    if (held.stale) {
      const doc = await this.Model.findById(held.doc._id)
      if (!doc) throw new Skip()
      held.doc = doc
      held.stale = false
    }
    await open(held.doc)
    return held.doc
  }

  #hold(doc: any): unknown {
    if (typeof doc?.$set !== 'function') return doc
    if (this.held.length >= maxHeld) this.held.shift()
    this.held.push({ doc, stale: false, used: true })
    return doc
  }

  #drop(doc: any): void {
    const index = this.held.findIndex((held) => held.doc === doc)
    if (index !== -1) this.held.splice(index, 1)
  }
}

/** Opens a document and the subdocuments in it; a plain one is open. */
export async function open(doc: any): Promise<void> {
  await doc?.decrypt?.()
  for (const holder of holdersOf(doc)) await holder.decrypt?.()
}

export function holdersOf(doc: any): any[] {
  if (typeof doc?.get !== 'function') return []
  const found = [doc.get('one'), ...(doc.get('contacts') ?? []), ...(doc.get('byName')?.values?.() ?? [])]
  return found.filter((each) => typeof each?.$set === 'function')
}

/** Where the record is gone, the plain twin has nothing to complain of. */
async function rotate(doc: any): Promise<void> {
  await doc.rotateKmsKey?.().catch((error: Error) => {
    if (error.name !== 'DocumentNotFoundError') throw error
  })
}

function written(result: any): unknown {
  if (Array.isArray(result)) return result.length
  const { matchedCount, upsertedCount, deletedCount, insertedCount } = result ?? {}
  return { matchedCount, upsertedCount, deletedCount, insertedCount }
}

/** Values with the subdocuments among them as objects: `castObject()` makes some. */
async function plain(value: any): Promise<unknown> {
  if (typeof value?.$set === 'function') return { ...value.toObject(), ...(await value.decrypt?.()) }
  if (value instanceof Map) return plain(Object.fromEntries(value))
  if (Array.isArray(value)) return Promise.all(value.map(plain))
  if (Object.getPrototypeOf(Object(value)) !== Object.prototype) return value
  const entries = Object.entries(value).map(async ([key, item]) => [key, await plain(item)] as const)
  return Object.fromEntries(await Promise.all(entries))
}

/** Waits for all, and fails as the first that failed. */
async function settled(promises: Promise<unknown>[]): Promise<void> {
  const outcomes = await Promise.allSettled(promises)
  const failed = outcomes.find((outcome) => outcome.status === 'rejected')
  if (failed) throw (failed as PromiseRejectedResult).reason
}

function evaluate(source: string, environment: Record<string, unknown>): any {
  return compileFunction(source, Object.keys(environment))(...Object.values(environment))
}
