import mongoose, { type Connection, Schema, type SchemaOptions } from 'mongoose'
import type { KmsEncryptedOptions } from '../lib'
import { modelOf } from './support'

const { BSON } = mongoose.mongo

type Definition = Record<string, any>

/** Two models of the same definition: one where Mongoose itself has the fields, one where they are encrypted. */
export interface Twins {
  readonly plain: any
  readonly encrypted: any
  /** Does the same to both and gives what came of it; `Model` in the place of their names. */
  both<T>(act: (model: any) => Promise<T>): Promise<{ plain: unknown; encrypted: unknown }>
}

let pairs = 0

/** `fields` may be a function, for definitions that Mongoose must not share. */
export function twinsOf(
  connection: Connection,
  clear: Definition,
  fields: Definition | (() => Definition),
  options: SchemaOptions = {},
  pluginOptions: Partial<KmsEncryptedOptions> = {},
): Twins {
  const define = () => (typeof fields === 'function' ? fields() : fields)
  const plain = connection.model<any>(`Plain${++pairs}`, new Schema({ ...clear, ...define() }, options as never)) as any
  const encrypted = modelOf(connection, new Schema(clear, options as never), { ...pluginOptions, fields: define() })
  const outcomeOf = async (model: any, act: (model: any) => Promise<unknown>) => {
    try {
      return shown(await act(model))
    } catch (error) {
      return described(error, model.modelName)
    }
  }
  return {
    plain,
    encrypted,
    both: async (act) => ({ plain: await outcomeOf(plain, act), encrypted: await outcomeOf(encrypted, act) }),
  }
}

/** The fields of a record as a user reads them, one by one. */
export async function fieldsOf(doc: any, names: readonly string[]): Promise<Record<string, unknown>> {
  const values: Record<string, unknown> = {}
  for (const name of names) values[name] = await doc.get(name)
  return values
}

/** A value in a form that tells all BSON types apart and shows nothing of Mongoose's containers. */
export function shown(value: unknown): unknown {
  const stored = BSON.deserialize(BSON.serialize({ value }, { ignoreUndefined: true }), { promoteValues: false })
  return BSON.EJSON.serialize(stored.value, { relaxed: false } as never)
}

/** What an error says, with what the library has in the place of its value. */
function hidden({ value, stringValue, path }: any, said: string): string {
  const shorter = said.replaceAll(/ because of "\w+"/g, '')
  if (stringValue !== undefined) return shorter.replaceAll(`value ${stringValue} (`, 'value "<encrypted>" (')
  const text = String(value).replaceAll(/[^\w\s]/g, '\\$&')
  return value === path || text === ''
    ? shorter
    : shorter.replaceAll(new RegExp(`(?<![\\w.])${text}(?!\\w)`, 'g'), '<encrypted>')
}

/** What a user can see of an error. */
export function described(error: any, modelName: string): unknown {
  const message = String(error?.message).replaceAll(modelName, 'Model')
  if (!error?.errors) return { name: error?.name, message }
  const all = Object.values<any>(error.errors)
  // What cannot be cast may hold what parts the pieces.
  const casts = all.filter(({ stringValue }) => stringValue !== undefined)
  const pieces = casts
    .reduce((said, each) => hidden(each, said), message)
    .split(/[:,] /)
    .map((piece: string) => all.reduce((said, each) => hidden(each, said), piece))
  const errors = Object.entries<any>(error.errors).map(([path, each]) => [
    path,
    {
      name: each.name,
      kind: each.kind,
      path: each.path,
      message: hidden(each, String(each.message)).replaceAll(modelName, 'Model'),
      value: (each.value ?? undefined) === undefined ? String(each.value) : '<encrypted>',
      ...(each.properties ? { type: each.properties.type } : {}),
    },
  ])
  return { name: error.name, message: pieces.sort(), errors: Object.fromEntries(errors) }
}

/** `validateSync()`, without what Mongoose says about its end in each call. */
export function validateSync(doc: any, ...args: unknown[]): Error | undefined {
  const warn = jest.spyOn(process, 'emitWarning').mockImplementation()
  try {
    return doc.validateSync(...args)
  } finally {
    warn.mockRestore()
  }
}
