import { type KeyProvider, kmsEncrypted } from '../../lib'
import { indexesIn, indexProblem, localIndexKeys } from '../indexvalues'
import { type FieldName, generations, mongoose, type Random, type Shared } from './record'

/**
 * Records that have one writer each, who knows what they must hold, while jobs go over them all: what is overwritten by anybody who has not
 * read it is noticed. Some writes are as by a version of the application that knows of no encryption, and the records migrate.
 */

export const ownFields = ['email', 'note'] as const satisfies FieldName[]
type Held = Readonly<Record<(typeof ownFields)[number], string>>

const definitions = { email: { type: String, unique: true }, note: String }

export async function connectOwn(shared: Shared, version: number, provider: KeyProvider) {
  // By a connection of its own, at which nobody looks: what is in the clear is sent as a condition while it migrates.
  const settings = { dbName: shared.database, maxPoolSize: 5, autoIndex: false, autoCreate: false }
  const connection = await mongoose.createConnection(shared.uri, settings).asPromise()
  const schema = new mongoose.Schema<any>({ _id: Number, count: Number } as never)
  const options = { provider, fields: definitions, migrating: true, ...generations(version, 'Own') }
  const Own = connection.model<any>('Own', schema.plugin(kmsEncrypted as any, options)) as any
  /** The collection as the older version of the application has it. */
  const old = connection.getClient().db(shared.database).collection<any>(Own.collection.name)
  return { connection, Own, old }
}

/** How many records one writer has. */
const most = 6

/** The records of one writer. */
export class OwnRecords {
  readonly Own: any
  readonly old: any
  readonly #held = new Map<number, Held>()
  /** Those that no strand of the writer is at. */
  readonly #free: number[]
  readonly #random: Random
  readonly #value: (id: number, field: FieldName) => string

  constructor(
    { Own, old }: { Own: any; old: any },
    random: Random,
    value: (id: number, field: FieldName) => string,
    writer: number,
  ) {
    this.Own = Own
    this.old = old
    this.#random = random
    this.#value = value
    this.#free = Array.from({ length: most }, (_, index) => writer * most + index)
  }

  /**
   * Looks whether a record holds what was written last, and changes it.
   *
   * @param write gives what it has written; where it fails, nothing may be
   */
  async change(write: (id: number, values: Held, held: Held) => Promise<Partial<Held>>): Promise<void> {
    const id = this.#free.shift()
    if (id === undefined) return
    try {
      if (!this.#held.has(id)) await this.#create(id)
      await this.#check(id)
      const held = this.#held.get(id) as Held
      this.#held.set(id, { ...held, ...(await write(id, this.#values(id), held)) })
    } finally {
      this.#free.push(id)
    }
  }

  /** @throws {Error} where one holds something else than was written last */
  async checkAll(): Promise<void> {
    for (const id of this.#held.keys()) await this.#check(id)
  }

  #values(id: number): Held {
    return { email: this.#value(id, 'email'), note: this.#value(id, 'note') }
  }

  async #create(id: number): Promise<void> {
    const values = this.#values(id)
    if (this.#random() < 0.5) await this.old.insertOne({ _id: id, ...values })
    else await this.Own.create({ _id: id, ...values })
    this.#held.set(id, values)
  }

  async #check(id: number): Promise<void> {
    const found = await (await this.Own.findById(id))?.decrypt()
    const lost = ownFields.filter((field) => found?.[field] !== this.#held.get(id)?.[field])
    if (lost.length === 0) return
    const told = lost.map((field) => `${field} "${found?.[field]}" instead of "${this.#held.get(id)?.[field]}"`)
    // Once is enough.
    this.#held.set(id, found)
    throw new Error(`own record ${id} holds ${told.join(', ')}`)
  }
}

/** Says which index values of a stored record are not those of what it holds. */
export async function ownIndexProblems({ secret }: Shared, raw: any, open: any): Promise<string[]> {
  const keys = await localIndexKeys(secret)
  return indexesIn(definitions).flatMap(
    (index) => indexProblem(index, raw, open, (values) => keys.valuesOf('Own', index.name, index, values)) ?? [],
  )
}
