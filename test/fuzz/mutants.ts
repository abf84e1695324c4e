import { plainly } from './plainly'
import type { Encrypt } from './subject'

/** A plain twin with a fault, or the library with one, by which the fuzz run is tried: each must be found. */
interface Mutant {
  /** How fields get onto a plain twin; that of the library, where there is none. */
  readonly encrypt?: Encrypt
  /** Does harm to the driver, by which the library writes. */
  readonly spoilDriver?: (mongo: any) => void
  /** Whether plaintext that is sent or shown counts, as with the library. */
  readonly isSecret?: true
  /** The oracles that can find it: which is the first depends on what is drawn. */
  readonly found: readonly string[]
}

/** Fields as they are, and a hook that does harm. */
function spoiled(spoil: (schema: any, names: string[]) => void): Encrypt {
  return (schema, fields, options) => {
    plainly(schema, fields, options)
    spoil(schema, Object.keys(fields))
  }
}

/** Updates of the driver, changed before they are made. */
function spoiledUpdates(spoil: (update: any) => void): (mongo: any) => void {
  return ({ Collection: { prototype } }) => {
    for (const name of ['updateOne', 'updateMany', 'findOneAndUpdate']) {
      const update = prototype[name]
      prototype[name] = function (this: unknown, filter: unknown, given: any, ...rest: unknown[]) {
        if (!Array.isArray(given)) spoil(given)
        return update.call(this, filter, given, ...rest)
      }
    }
  }
}

const indexPathsIn = (operand: object | undefined) => Object.keys(operand ?? {}).filter((path) => /_bidx$/.test(path))

export const mutants: Readonly<Record<string, Mutant>> = {
  'stores plaintext': { encrypt: spoiled(() => {}), isSecret: true, found: ['sent'] },
  'drops a value on save': {
    encrypt: spoiled((schema, names) => {
      schema.pre('save', function (this: any) {
        this.set(names[0], undefined)
      })
    }),
    found: ['values'],
  },
  'drops a value on update': {
    encrypt: spoiled((schema, names) => {
      schema.pre(['updateOne', 'findOneAndUpdate', 'updateMany'], function (this: any) {
        const update = this.getUpdate()
        if (update?.$set) delete update.$set[names[0]!]
      })
    }),
    found: ['values', 'result', 'accepted'],
  },
  'does not validate': {
    encrypt: spoiled((schema) => schema.set('validateBeforeSave', false)),
    found: ['accepted'],
  },
  'throws what is no refusal': {
    encrypt: spoiled((schema) => {
      schema.pre('findOneAndUpdate', () => {
        throw new RangeError('a fault')
      })
    }),
    found: ['threw'],
  },
  'leaves a rejection': {
    encrypt: spoiled((schema) => {
      schema.post('save', () => void Promise.reject(new Error('nobody waits for this')))
    }),
    found: ['uncaught'],
  },
  'ends the process': {
    encrypt: spoiled((schema) => {
      schema.post('save', () => process.exit(3))
    }),
    found: ['ended'],
  },
  'brings no index values in updates': {
    spoilDriver: spoiledUpdates(({ $set }) => {
      for (const path of indexPathsIn($set)) delete $set[path]
    }),
    isSecret: true,
    found: ['index', 'result'],
  },
  'leaves the index value of what is taken away': {
    spoilDriver: spoiledUpdates((update) => {
      for (const path of indexPathsIn(update.$unset)) delete update.$unset[path]
      // An empty operator is an error of its own.
      if (Object.keys(update.$unset ?? { path: 1 }).length === 0) delete update.$unset
    }),
    isSecret: true,
    found: ['index'],
  },
  'forgets the older of two versions': {
    spoilDriver: spoiledUpdates(({ $set }) => {
      for (const path of indexPathsIn($set)) if (Array.isArray($set[path])) $set[path].splice(1)
    }),
    isSecret: true,
    found: ['index'],
  },
  'never answers': {
    encrypt: spoiled((schema) => {
      schema.pre('updateOne', () => new Promise<void>(() => {}))
    }),
    found: ['hangs'],
  },
}
