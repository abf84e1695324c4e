import type { Connection } from 'mongoose'
import { ConfigurationError } from '../errors'
import { methodsOf } from '../mongoose/collection'
import { type AnyModel, type Host, hostOf } from '../mongoose/host'
import { shapeOf } from '../mongoose/schema'
import { learnDependencies } from '../record/context'
import { nameOf } from '../record/identity'
import { fieldsBelow, layoutOf, type Place } from '../schema/layout'
import type { Use } from '../schema/use'
import { checkModel, usesOf } from '../schema/uses'

/**
 * Where everything passes that Mongoose, its plugins and the application send to a collection. In comes what is about to be sent, after
 * every hook and cast; out goes what holds envelopes where values were, tied to their records. Keeps invariants 1, 2 and 3 of the
 * design. What it does with each method stands in `passes.ts`; this is what it knows.
 */
export class Gate {
  /** The models that store in this collection. */
  readonly models = new Set<AnyModel>()
  /** The collection's own methods. */
  readonly native: Native
  #root: Place = layoutOf([])
  #uses: ReadonlySet<Use> = new Set()
  #isCustom = false
  readonly #shapes = new Map<AnyModel, string>()

  constructor(collection: Collection) {
    this.native = methodsOf(collection, wrapped) as Native
  }

  /** What is encrypted in this collection, and where, by the schemas as they are now. Whoever lets something in asks for this. */
  get layout(): Place {
    // Discriminators, of subdocuments too, come to a schema after its model was compiled, and nobody is told.
    for (const model of this.models) if (this.#shapes.get(model) !== shapeOf(model.schema)) return this.#renew()
    return this.#root
  }

  #renew(): Place {
    for (const model of this.models) {
      checkModel(model)
      learnDependencies(model, usesOf(model.schema))
    }
    const root = layoutOf(this.models)
    checkNames(root, this.models)
    for (const model of this.models) this.#shapes.set(model, shapeOf(model.schema))
    this.#root = root
    this.#uses = new Set(fieldsBelow(root).flatMap(({ place }) => place.fields.map(({ use }) => use)))
    this.#isCustom = [...this.#uses].some(({ isCustom }) => isCustom)
    return root
  }

  /** The same as it was when the last operation was let in. */
  get root(): Place {
    return this.#root
  }

  get host(): Host {
    const [model] = this.models
    return hostOf(model!.schema)
  }

  /** The uses of the plugin whose fields are stored here, as of then. */
  get uses(): ReadonlySet<Use> {
    return this.#uses
  }

  /** Whether records must be read whole to encrypt for them: the options may read anything. As of then. */
  get isCustom(): boolean {
    return this.#isCustom
  }

  /** Names an operation in messages. */
  place(method: string): string {
    const [model] = this.models
    return `${nameOf(model ?? {})}.${method}()`
  }

  /** The layout of another collection of the same connection, by its name. */
  layoutOfCollection(name: string): Place | undefined {
    const [model] = this.models
    return model && layoutIn(model.db, name)
  }
}

/** Index values are made for a model by its name: a query could ask for those of one alone. */
function checkNames(root: Place, models: ReadonlySet<AnyModel>): void {
  if (!root.hasIndexes) return
  const names = new Set([...models].filter((model) => layoutOf([model]).hasIndexes).map(nameOf))
  if (names.size < 2) return
  throw new ConfigurationError(
    'OPTION_INVALID',
    `${[...names].join(' and ')} have fields with blind indexes in one collection, where what one writes the other would not find. Use one model, or ` +
      'discriminators of one.',
  )
}

/** The layout of a collection of a connection, by its name; `undefined` where nothing there is encrypted. */
export function layoutIn({ models }: Connection, collection: string): Place | undefined {
  const model = (Object.values(models) as AnyModel[]).find((each) => each.collection.name === collection)
  const layout = model && gates.get(model.collection)?.layout
  return layout?.isClear ? undefined : layout
}

/** A collection object of Mongoose, seen as its methods. */
export type Collection = Record<string, (...args: any[]) => any>

/** The methods that are sent to, past the gate. */
export type Native = {
  readonly [name in (typeof wrapped)[number]]: (...args: any[]) => any
}

const wrapped = [
  'find',
  'findOne',
  'countDocuments',
  'count',
  'createIndex',
  'createIndexes',
  'distinct',
  'aggregate',
  'deleteOne',
  'deleteMany',
  'findOneAndDelete',
  'insertOne',
  'insertMany',
  'updateOne',
  'updateMany',
  'replaceOne',
  'findOneAndUpdate',
  'findOneAndReplace',
  'bulkWrite',
  'watch',
] as const

const gates = new WeakMap<object, Gate>()

/** The gate of a collection, if it has one. */
export function knownGate(collection: object): Gate | undefined {
  return gates.get(collection)
}

/** Gives a collection a gate. */
export function newGate(collection: Collection): Gate {
  const gate = new Gate(collection)
  gates.set(collection, gate)
  return gate
}
