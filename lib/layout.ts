import type { Config } from './config'
import type { AnySchema, Doc } from './host'
import { topOf } from './naming'
import { configsOf } from './sealed'

/** What the documents of one schema hold encrypted. */
export interface Layout {
  readonly configs: readonly Config[]
  readonly byField: ReadonlyMap<string, Config>
  readonly storedPaths: ReadonlySet<string>
  /** Whether subdocuments, or discriminators of them, hold encrypted fields of their own. */
  readonly inSubdocuments: boolean
}

const layouts = new WeakMap<AnySchema, Layout>()

/** The layout of a compiled schema. Schemas do not change once they are compiled, so it is looked up once. */
export function layoutOf(schema: AnySchema): Layout {
  let layout = layouts.get(schema)
  if (!layout) {
    const configs = configsOf(schema)
    layout = {
      configs,
      byField: new Map(configs.flatMap((config) => [...config.fields.byName.keys()].map((name) => [name, config]))),
      storedPaths: new Set(configs.flatMap(storedPathsOf)),
      inSubdocuments: schema.childSchemas.some((child) => reachesEncrypted(child.schema as AnySchema)),
    }
    layouts.set(schema, layout)
  }
  return layout
}

/** Forgets the layout of a schema that the plugin is used on: it may have been compiled before. */
export function forgetLayout(schema: AnySchema): void {
  layouts.delete(schema)
}

/** The layout of a document's schema. */
export function layoutFor(doc: Doc): Layout {
  return layoutOf((doc.constructor as unknown as { schema: AnySchema }).schema)
}

/** Whether documents of a schema hold anything encrypted, be it in a subdocument. */
export function isEncrypted(schema: AnySchema): boolean {
  const { configs, inSubdocuments } = layoutOf(schema)
  return configs.length > 0 || inSubdocuments
}

/** The same for the records that a model reaches, those of its discriminators among them. */
export function reachesEncrypted(schema: AnySchema): boolean {
  return isEncrypted(schema) || discriminatorsOf(schema).some(([, own]) => reachesEncrypted(own))
}

/** A document and those of its subdocuments that hold encrypted fields. */
export function partsOf(doc: Doc): Doc[] {
  if (!layoutFor(doc).inSubdocuments || doc.$isSubdocument) return [doc]
  const subdocuments = (doc as unknown as { $getAllSubdocs(): Doc[] }).$getAllSubdocs()
  return [doc, ...subdocuments.filter((subdocument) => layoutFor(subdocument).configs.length > 0)]
}

/** The paths that a use of the plugin stores at: its keys, and the ciphertext of each field. */
export function storedPathsOf(config: Config): string[] {
  return [config.keyPath, ...[...config.fields.byName.values()].map((field) => field.storedPath)]
}

/** Where a path of a query leads, if it leads to something encrypted. */
export interface Location {
  readonly config: Config
  /** The encrypted field, or the stored path. */
  readonly name: string
  /** Whether the path names what is stored instead of the field. */
  readonly stored: boolean
  /** What stands before the field, such as `contacts.` for one in a subdocument; empty at the top of the record. */
  readonly prefix: string
  /** Whether the path is the field itself, at the top of the record. */
  readonly whole: boolean
  /** The model whose own field it is, where that is a discriminator of the one that is asked. */
  readonly discriminator?: string
}

/** Finds the encrypted field that a path leads to, in the schema itself or in that of a subdocument. */
export function locate(schema: AnySchema, path: string): Location | undefined {
  return locateFrom(schema, path, '')
}

function locateFrom(schema: AnySchema, path: string, prefix: string): Location | undefined {
  const { byField, storedPaths, configs } = layoutOf(schema)
  const name = topOf(path)
  const whole = prefix === '' && path === name
  const config = byField.get(name)
  if (config) return { config, name, stored: false, prefix, whole }
  if (storedPaths.has(name)) {
    const owner = configs.find((each) => storedPathsOf(each).includes(name)) as Config
    return { config: owner, name, stored: true, prefix, whole }
  }
  const child = childSchema(schema, path)
  if (child && child.rest !== '') {
    const before = path.slice(0, path.length - child.rest.length)
    return locateFrom(child.schema, child.rest, prefix + before)
  }
  for (const [discriminator, own] of discriminatorsOf(schema)) {
    const location = locateFrom(own, path, prefix)
    if (location) return { ...location, discriminator }
  }
  return undefined
}

/** The schemas of a schema's discriminators, by the names of their models. */
export function discriminatorsOf(schema: AnySchema): [string, AnySchema][] {
  return Object.entries((schema as { discriminators?: Record<string, AnySchema> }).discriminators ?? {})
}

/** The schema of the subdocument that a path leads into, and the rest of the path below it. */
export function childSchema(schema: AnySchema, path: string): { schema: AnySchema; rest: string } | undefined {
  const segments = path.split('.')
  for (let length = 1; length <= segments.length; length++) {
    const type = schema.path(segments.slice(0, length).join('.')) as SubdocumentType | undefined
    const child = type?.schema ?? type?.$__schemaType?.schema
    if (!child) continue
    // Positions in an array, `$` placeholders and keys of a map stand between the path and the subdocument.
    const isMap = type?.schema === undefined
    let next = length + (isMap ? 1 : 0)
    while (!isMap && next < segments.length && /^(\d+|\$.*)$/.test(segments[next] as string)) next++
    return { schema: child, rest: segments.slice(next).join('.') }
  }
  return undefined
}

interface SubdocumentType {
  readonly schema?: AnySchema
  readonly $__schemaType?: { readonly schema?: AnySchema }
}
