import type { Aggregate, Query } from 'mongoose'
import { clearPartOf, documentGiven, fieldsOf } from './contents'
import { learnDependencies } from './dependencies'
import { findRaw, isInTransaction } from './fetching'
import { refusePath, refuseSort, translateFilter } from './filters'
import { type AnyModel, type AnySchema, always, type Doc } from './host'
import { layoutOf } from './layout'
import { translatePipeline } from './pipelines'
import { translateProjection } from './projections'
import { collisionOf, type Request, refuseOvertaken, type Tie } from './requests'
import { tieReplacement, tieUpdate } from './tying'

type AnyQuery = Query<any, any> & { op: string; _distinct?: string }

const reads = ['find', 'findOne', 'countDocuments', 'distinct', 'deleteOne', 'deleteMany', 'findOneAndDelete'] as const
const updates = ['updateOne', 'updateMany', 'findOneAndUpdate'] as const
const replacements = ['replaceOne', 'findOneAndReplace'] as const
const writes = [...updates, ...replacements]

/** Makes queries, updates and aggregations honour the encrypted fields, or refuses them. Added after the user's own hooks. */
export function addQueryHooks(schema: AnySchema, isActive: (model: AnyModel) => boolean): void {
  const isFor = (query: AnyQuery) => isActive(query.model as AnyModel)
  const onQuery = { document: false, query: true }
  addQueryMethods(schema)
  for (const operation of reads) {
    schema.pre(
      operation as never,
      onQuery as never,
      always(async function translateQuery(this: AnyQuery) {
        if (!isFor(this)) return
        if (refusals.has(this)) throw refusals.get(this)
        translate(this)
        this.setQuery(translateFilter(this.model.schema, this.getFilter(), placeOf(this)) as never)
      }) as never,
    )
  }
  for (const operation of writes) {
    schema.pre(
      operation as never,
      onQuery as never,
      always(async function encryptWrite(this: AnyQuery) {
        if (!isFor(this)) return
        translate(this)
        const request = requestOf(this)
        const content = await contentGiven(this)
        const isReplacement = replacements.some((replacement) => replacement === this.op)
        const tied = isReplacement
          ? await tieReplacement(request, content)
          : await tieUpdate(request, content, this.op === 'updateMany')
        apply(this, request, tied)
      }) as never,
    )
    schema.post(
      operation as never,
      onQuery as never,
      always(async function refuseOvertakenWrite(this: AnyQuery, result: unknown) {
        const write = ties.get(this)
        if (!write || write.inserts || isHit(result)) return
        await refuseOvertaken(write.request, write.tie)
      }) as never,
    )
    // Three parameters make it an error handler.
    schema.post(
      operation as never,
      onQuery as never,
      always(async function refuseCollidingWrite(this: AnyQuery, error: Error, _result: unknown, _next: unknown) {
        const write = ties.get(this)
        if (write?.inserts) throw (await collisionOf(write.request, error)) ?? error
        // `orFail()` throws before it is known why nothing was found.
        if (write && error.name === 'DocumentNotFoundError') await refuseOvertaken(write.request, write.tie)
        throw error
      }) as never,
    )
  }
  schema.pre(
    'aggregate',
    always(async function translateAggregation(this: Aggregate<any>) {
      const { model } = this as unknown as { model(): AnyModel }
      const pipeline = this.pipeline() as unknown as Record<string, unknown>[]
      const own = model.call(this)
      pipeline.splice(0, pipeline.length, ...translatePipeline(own, pipeline, `${own.modelName}.aggregate()`))
    }) as never,
  )
}

/** Methods of queries that Mongoose has done part of its work in when the hooks run. */
function addQueryMethods(schema: AnySchema): void {
  const { query: methods } = schema as unknown as { query: Record<string, unknown> }
  // The filter of a cursor is cast before, and under `strictQuery: true` that strips the fields.
  methods.cursor = function cursor(this: AnyQuery, options: unknown) {
    try {
      this.setQuery(translateFilter(this.model.schema, this.getFilter(), placeOf(this)) as never)
    } catch (error) {
      refusals.set(this, error)
    }
    return originals(this).cursor!.call(this, options)
  }
  // A document that is given as the content is turned into an object before, which leaves its encrypted fields out.
  for (const operation of writes) {
    methods[operation] = function write(this: AnyQuery, ...args: unknown[]) {
      const position = args[1] === undefined ? 0 : 1
      const given = documentGiven(this.model as AnyModel, args[position])
      if (given) {
        givenDocuments.set(this, given)
        args[position] = clearPartOf(given)
      }
      return originals(this)[operation]!.apply(this, args)
    }
  }
}

function originals(query: AnyQuery): Record<string, (this: AnyQuery, ...args: unknown[]) => unknown> {
  return query.model.base.Query.prototype as never
}

/** Documents that were given as the content of a write. */
const givenDocuments = new WeakMap<AnyQuery, Doc>()

/** What a query is to write, its encrypted fields in the clear. */
async function contentGiven(query: AnyQuery): Promise<unknown> {
  const given = givenDocuments.get(query)
  return given ? { ...(await fieldsOf(given)), ...query.getUpdate() } : query.getUpdate()
}

/** Errors of filters that a cursor is to report when it is read. */
const refusals = new WeakMap<AnyQuery, unknown>()

const ties = new WeakMap<AnyQuery, { readonly request: Request; readonly tie: Tie; readonly inserts: boolean }>()

function translate(query: AnyQuery): void {
  const { schema } = query.model
  const place = placeOf(query)
  refuseSort(schema, query.getOptions().sort, place)
  if (query.op === 'distinct' && query._distinct !== undefined) refusePath(schema, query._distinct, place)
  learnDependencies(query.model as AnyModel, layoutOf(schema).configs)
  const projection = query.projection()
  const translated = projection && translateProjection(schema, projection as Record<string, unknown>, place)
  if (translated) query.projection(translated)
}

function requestOf(query: AnyQuery): Request {
  const model = query.model as AnyModel
  const options = query.getOptions() as Record<string, any>
  return {
    model,
    place: placeOf(query),
    filter: { ...query.getFilter() },
    arrayFilters: options.arrayFilters,
    upsert: options.upsert === true,
    runValidators: options.runValidators ?? model.base.get('runValidators') ?? false,
    setDefaults: (options.setDefaultsOnInsert ?? model.base.get('setDefaultsOnInsert' as never)) !== false,
    inTransaction: isInTransaction(model, options),
    find: (filter, projection) => findRaw(model, filter, projection, options),
  }
}

function apply(query: AnyQuery, request: Request, tied: Awaited<ReturnType<typeof tieUpdate>>): void {
  query.setQuery(tied.filter as never)
  query.setUpdate(tied.content as never)
  if (request.upsert !== tied.upsert) query.setOptions({ upsert: tied.upsert })
  if (tied.tie) ties.set(query, { request, tie: tied.tie, inserts: tied.upsert })
}

/** Whether a write reached a record, told by what the driver or Mongoose returns. */
function isHit(result: unknown): boolean {
  if (result === null || result === undefined) return false
  const { matchedCount, upsertedCount, acknowledged, lastErrorObject } = result as Record<string, any>
  if (acknowledged === false) return true
  if (lastErrorObject !== undefined) return lastErrorObject.n > 0
  return matchedCount === undefined || matchedCount > 0 || upsertedCount > 0
}

function placeOf(query: AnyQuery): string {
  return `${query.model.modelName}.${query.op}()`
}
