import type { Encrypt } from './subject'

/** A plain twin with a fault, by which the fuzz run is tried: each must be found. */
interface Mutant {
  readonly encrypt: Encrypt
  /** Whether plaintext that is sent or shown counts, as with the library. */
  readonly isSecret?: true
  /** The oracles that can find it: which is the first depends on what is drawn. */
  readonly found: readonly string[]
}

/** Fields as they are, and a hook that does harm. */
function spoiled(spoil: (schema: any, names: string[]) => void): Encrypt {
  return (schema, fields) => {
    schema.add(fields)
    spoil(schema, Object.keys(fields))
  }
}

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
  'never answers': {
    encrypt: spoiled((schema) => {
      schema.pre('updateOne', () => new Promise<void>(() => {}))
    }),
    found: ['hangs'],
  },
}
