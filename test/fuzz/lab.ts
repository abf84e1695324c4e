import { createRequire } from 'node:module'
import type { Connection, Mongoose } from 'mongoose'
import { mongooseName } from '../mongooseName'
import { mutants } from './mutants'
import { plainly } from './plainly'
import { Listener } from './sent'
import type { Encrypt } from './subject'

const load = createRequire(__filename)

/** What stands against the plain twin: the library, a second plain twin, or one with a fault that must be found. */
export type Target = 'library' | 'plain' | keyof typeof mutants

/** What all sequences of a process share: a connection for each twin, and one at the back door. */
export interface Lab {
  readonly mongoose: Mongoose
  readonly plain: Connection
  readonly encrypted: Connection
  /** Not listened to: reads what is stored, and puts it back. */
  readonly back: Connection
  readonly listener: Listener
  readonly encrypt: Encrypt
  readonly target: Target
  readonly isLibrary: boolean
  /** Whether plaintext that is sent or shown is a failure: not so between two plain twins. */
  readonly isSecret: boolean
  /** What nobody caught since the last step. */
  readonly uncaught: unknown[]
  close(): Promise<void>
}

export async function openLab(uri: string, database: string, target: Target): Promise<Lab> {
  const mongoose: Mongoose = load(mongooseName)
  const connect = (monitorCommands: boolean) =>
    mongoose
      .createConnection(uri, { dbName: database, monitorCommands, autoCreate: false, autoIndex: false, maxPoolSize: 4 })
      .asPromise()
  const [plain, encrypted, back] = await Promise.all([connect(false), connect(true), connect(false)])
  const mutant = mutants[target]
  mutant?.spoilDriver?.(mongoose.mongo)
  const uncaught: unknown[] = []
  for (const event of ['unhandledRejection', 'uncaughtException'] as const)
    process.on(event, (error) => uncaught.push(error))
  return {
    mongoose,
    plain,
    encrypted,
    back,
    listener: new Listener(mongoose, encrypted.getClient()),
    encrypt: target === 'plain' ? plainly : (mutant?.encrypt ?? encryptingly()),
    target,
    isLibrary: target !== 'plain' && !mutant?.encrypt,
    isSecret: target === 'library' || Boolean(mutant?.isSecret),
    uncaught,
    async close() {
      await back.dropDatabase()
      await Promise.all([plain.close(), encrypted.close(), back.close()])
    },
  }
}

/** Loaded only here, so that the fuzz run can be tried where the library does not run. */
function encryptingly(): Encrypt {
  const { kmsEncrypted, localKms } = load('../../lib') as typeof import('../../lib')
  return (schema, fields, options: { dataKey?: string }) => {
    const provider = options.dataKey === 'owner' ? {} : { provider: localKms() }
    schema.plugin(kmsEncrypted, { ...provider, ...options, fields })
  }
}
