import type { AnyModel } from './host'
import { discriminatorsOf, isEncrypted } from './layout'
import { addQueryHooks } from './queries'
import { extendModels } from './statics'

const covered = new WeakSet<AnyModel>()

/**
 * Covers the base model of a discriminator with encrypted fields: what is asked of it reaches those records, too. It was
 * compiled before, with a schema that need not know of this library.
 */
export function coverBase(discriminator: AnyModel): void {
  const base = baseOf(discriminator) as CompiledModel | undefined
  if (!base || covered.has(base) || isEncrypted(base.schema)) return
  covered.add(base)
  const { schema } = base
  extendModels(schema)
  for (const name of ['insertMany', 'bulkWrite', 'bulkSave', 'decrypt']) base[name] = schema.statics[name]
  addQueryHooks(schema, (model) => model === base)
  base._applyQueryMiddleware()
  base.hooks = schema.s.hooks.clone()
  Object.assign(base.Query.prototype, schema.query)
}

/** What Mongoose makes of a schema when it compiles a model. */
type CompiledModel = AnyModel & {
  [name: string]: any
  readonly schema: { readonly s: { readonly hooks: { clone(): unknown } } }
}

/** While a discriminator is compiled, only the schema of its base knows of it. */
function baseOf(model: AnyModel): AnyModel | undefined {
  const models = Object.values(model.db.models) as AnyModel[]
  return models.find((each) => discriminatorsOf(each.schema).some(([, schema]) => schema === model.schema))
}
