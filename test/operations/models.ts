import { type Connection, Schema, type SchemaOptions } from 'mongoose'
import type { KeyProvider } from '../../lib'
import { modelOf, secret } from '../support'
import { clear, encrypted, type Names, type Values } from './row'

/** Paths of every type. Lists have no default, so that a record without one is given none. */
function definition(names: Names) {
  return {
    [names.text]: String,
    [names.number]: Number,
    [names.list]: { type: [String], default: undefined },
    [names.nested]: { city: String },
    [names.date]: Date,
    [names.hidden]: { type: String, select: false },
  }
}

/** What a model of the table may have besides. */
interface More {
  readonly fields?: object
  /** What the application does to its schema before the plugin is used. */
  readonly prepare?: (schema: Schema<any>) => void
}

/** The models of the table: users, and posts by them. */
export function makeModels(
  connection: Connection,
  provider: KeyProvider,
  options: SchemaOptions = {},
  { fields, prepare }: More = {},
) {
  const schema = userSchema(options)
  prepare?.(schema)
  const User = modelOf(connection, schema, { provider, fields: { ...definition(encrypted), ...fields } })
  const postSchema = new Schema<any>({ title: String, author: { type: Schema.Types.ObjectId, ref: User.modelName } }, {
    ...options,
    collection: undefined,
  } as never)
  const Post = connection.model<any>(`PostBy${User.modelName}`, postSchema) as any
  return { User, Post }
}

/** What is in the clear of users. */
export function userSchema(options: SchemaOptions): Schema<any> {
  return new Schema<any>({ name: String, extra: Schema.Types.Mixed, ...definition(clear) }, options as never)
}

/** A value for every path. */
export function everything(names: Names): Values {
  return {
    [names.text]: names.old,
    [names.number]: names.oldNumber,
    [names.list]: [names.item],
    [names.nested]: { city: names.oldCity },
    [names.date]: names.oldDate,
    [names.hidden]: `${names.old}, once more`,
  }
}

/** The records before an operation, by their names. */
export function records(): Record<string, Values> {
  const { old, value, item, oldNumber, newNumber, oldCity, newCity, oldDate, newDate } = encrypted
  for (const plaintext of [old, value, item, oldCity, newCity, oldNumber, newNumber, oldDate, newDate])
    secret(plaintext)
  return {
    Ada: { ...everything(clear), ...everything(encrypted) },
    Bob: { [clear.text]: null, [encrypted.text]: null },
  }
}
