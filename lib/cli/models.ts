import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isAbsolute, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Audit } from '../kms/actor'
import { brand, type KnownJob, modelMade } from '../lifecycle/known'
import type { AnyModel, Plain } from '../mongoose/host'
import type { Session } from './command'
import type { ModelOptions } from './options'
import { Misuse } from './outcome'

/** The models of the application, on whatever Mongoose it has. */

/**
 * Loads the modules of the application, and gives the models that they have made, connected.
 *
 * @throws {Misuse} where there are none, or they cannot be connected; whatever a module, or connecting, fails with
 */
export async function openModels(given: ModelOptions, { surroundings }: Session): Promise<AnyModel[]> {
  const made = await modelsMadeBy(() => load(given, surroundings.cwd))
  const all = [...new Set([...made].flatMap(({ db }) => Object.values(db.models) as AnyModel[]))].filter(isEncrypted)
  // A model covers its discriminators.
  const models = all.filter((model) => !all.includes(model.db.models[model.baseModelName as string] as AnyModel))
  if (models.length === 0)
    throw new Misuse(
      `No model with encrypted fields was made by ${given.require.join(', ')}. Give the module that makes them.`,
    )
  const chosen = given.model ? given.model.flatMap((name) => named(name, all)) : models
  await connect(chosen, given.uri, surroundings.env.MONGODB_URI)
  return chosen
}

/** Closes all connections of the Mongooses that these models are of. */
export async function closeModels(models: readonly AnyModel[]): Promise<void> {
  for (const mongoose of new Set(models.map(({ base }) => base))) await mongoose.disconnect()
}

/** Where a model has its records, for people; without credentials. */
export function placeOf({ collection, db }: AnyModel): string {
  const { srvHost, hosts } = db.getClient().options
  return `collection ${collection.name} of the database ${db.name} at ${srvHost ?? hosts.join(', ')}`
}

/** A job of a model. */
export interface Job {
  readonly isFor: boolean
  /** @param audit who acts */
  run(options: Plain, audit?: Audit): Promise<any>
}

/** A static of a model that does a job, whatever its name there. */
export function jobOf(model: AnyModel, name: string): Job {
  for (const { value } of Object.values(Object.getOwnPropertyDescriptors(model))) {
    const known = (value as { [brand]?: KnownJob } | null | undefined)?.[brand]
    if (known?.name !== name) continue
    const run = (options: Plain, audit: Audit = {}) => known.withAudit(audit, () => value.call(model, options))
    return { isFor: known.isFor(model), run }
  }
  throw new Misuse(`${model.modelName}: its version of mongoose-kms-encrypted has no ${name}(). Update it (npm ls).`)
}

function isEncrypted(model: AnyModel): boolean {
  const statics = Object.values(Object.getOwnPropertyDescriptors(model))
  return statics.some(
    ({ value }) => (value as { [brand]?: KnownJob } | null | undefined)?.[brand]?.name === 'kmsStatus',
  )
}

function named(name: string, all: readonly AnyModel[]): AnyModel[] {
  const found = all.filter(({ modelName }) => modelName === name)
  if (found.length > 0) return found
  const names = all.map(({ modelName }) => modelName).join(', ')
  throw new Misuse(`There is no model ${name} with encrypted fields. There is ${names}.`)
}

/** Has something done that makes models, none of which makes collections or indexes: that is for the application. */
async function modelsMadeBy(act: () => Promise<void>): Promise<Set<AnyModel>> {
  const made = new Set<AnyModel>()
  const note = (message: unknown) => {
    const model = message as AnyModel
    made.add(model)
    Object.assign((model.schema as unknown as { options: object }).options, unasked)
  }
  subscribe(modelMade.name, note)
  try {
    await act()
  } finally {
    unsubscribe(modelMade.name, note)
  }
  return made
}

const unasked = { autoIndex: false, autoCreate: false, autoSearchIndex: false }

async function load({ require, import: loaders }: ModelOptions, cwd: string): Promise<void> {
  for (const name of [...loaders, ...require]) {
    const path = locate(name, cwd)
    try {
      await import(isAbsolute(path) ? pathToFileURL(path).href : path)
    } catch (error) {
      throw hinted(error, path)
    }
  }
}

/** As Node finds it from the working directory; a path need not begin with a dot. */
function locate(name: string, cwd: string): string {
  const path = resolve(cwd, name)
  try {
    return createRequire(resolve(cwd, 'module.js')).resolve(existsSync(path) ? path : name)
  } catch {
    throw new Misuse(`There is no module ${name}, seen from ${cwd}.`)
  }
}

/** Node knows no TypeScript by itself, or not all of it. */
function hinted(error: unknown, path: string): unknown {
  const { message, code } = Object(error) as { message?: unknown; code?: unknown }
  const isUnread =
    error instanceof SyntaxError || /UNKNOWN_FILE_EXTENSION|TYPESCRIPT|MODULE_NOT_FOUND/.test(String(code))
  if (!/\.[cm]?tsx?$/.test(path) || !isUnread) return error
  return new Misuse(`${path} was not loaded: ${message}. Give your loader for TypeScript, such as --import tsx.`, {
    cause: error,
  })
}

async function connect(
  models: readonly AnyModel[],
  uri: string | undefined,
  byDefault: string | undefined,
): Promise<void> {
  // Else what is done there would be done elsewhere than was said.
  if (uri !== undefined && models.some(({ db }) => db.readyState !== 0))
    throw new Misuse('The modules connect by themselves: leave --uri out, and tell them where to.')
  for (const { base } of models) {
    const { connection } = base
    const isNeeded = models.some(({ db }) => db.base === base && db.readyState === 0)
    if (connection.readyState !== 0 || !isNeeded) continue
    const to = uri ?? byDefault
    if (!to) throw new Misuse('Where is the database? Give --uri or MONGODB_URI, or a module that connects.')
    await connection.openUri(to, { autoIndex: false, autoCreate: false })
  }
  for (const { db, modelName } of models) {
    if (db.readyState === 0)
      throw new Misuse(`${modelName} is on a connection of its own, which is not open: have its module open it.`)
    await db.asPromise()
  }
}
