import { OperationError } from './errors'
import { refuseExpression, refusePath, refuseSort, translateFilter } from './filters'
import type { AnyModel, AnySchema } from './host'
import { reachesEncrypted } from './layout'

type Stage = Readonly<Record<string, unknown>>
type Operand = Readonly<Record<string, any>>

/** Where a pipeline runs: the schema of its records, and the one of any other collection that it names. */
interface Scope {
  readonly schema: AnySchema
  readonly schemaOf: (collection: unknown) => AnySchema | undefined
  readonly place: string
}

/**
 * Rewrites the `$match` stages of a pipeline as filters are, and checks the others.
 *
 * @throws {OperationError} QUERY_REFUSED when a stage reads an encrypted field; WRITE_REFUSED when it writes to records
 */
export function translatePipeline(model: AnyModel, pipeline: readonly Stage[], place: string): Stage[] {
  const schemaOf = (collection: unknown) => schemaOfCollection(model, collection)
  return translateStages({ schema: model.schema, schemaOf, place }, pipeline)
}

function translateStages(scope: Scope, pipeline: readonly Stage[]): Stage[] {
  return pipeline.map((stage) => {
    const [operator] = Object.keys(stage)
    return operator === undefined ? stage : { [operator]: translateStage(scope, operator, stage[operator]) }
  })
}

function translateStage(scope: Scope, operator: string, given: unknown): unknown {
  const { schema, place } = scope
  const operand = given as Operand
  switch (operator) {
    case '$match':
      return translateFilter(schema, given, place)
    case '$facet':
      return Object.fromEntries(Object.entries(operand).map(([name, sub]) => [name, translateStages(scope, sub)]))
    case '$lookup':
      if (typeof operand.localField === 'string') refusePath(schema, operand.localField, place)
      refuseExpression(schema, operand.let, place)
      return translateJoin(scope, operand.from, operand)
    case '$graphLookup':
      refuseExpression(schema, operand.startWith, place)
      return translateJoin(scope, operand.from, operand)
    case '$unionWith':
      return typeof given === 'string' ? given : translateJoin(scope, operand.coll, operand)
    case '$geoNear':
      refuseExpression(schema, operand.near, place)
      if (typeof operand.key === 'string') refusePath(schema, operand.key, place)
      return operand.query ? { ...operand, query: translateFilter(schema, operand.query, place) } : operand
    case '$merge':
    case '$out':
      refuseWriting(scope, operator, given)
      return given
    default:
      checkStage(scope, operator, given)
      return given
  }
}

/** What a stage says of another collection is checked by the schema of that one, if it is known. */
function translateJoin({ schemaOf, place }: Scope, collection: unknown, operand: Operand): Operand {
  const schema = schemaOf(collection)
  if (!schema) return operand
  for (const path of [operand.foreignField, operand.connectFromField, operand.connectToField]) {
    if (typeof path === 'string') refusePath(schema, path, place)
  }
  const { pipeline, restrictSearchWithMatch: match } = operand
  return {
    ...operand,
    ...(pipeline ? { pipeline: translateStages({ schema, schemaOf, place }, pipeline) } : {}),
    ...(match ? { restrictSearchWithMatch: translateFilter(schema, match, place) } : {}),
  }
}

/** Results can hold anything under any name, so they are not written to where records are. */
function refuseWriting({ schemaOf, place }: Scope, operator: string, given: unknown): void {
  const { into = given, coll = into } = (typeof given === 'object' ? given : {}) as Operand
  if (!schemaOf(typeof coll === 'object' ? (coll as Operand | null)?.coll : coll)) return
  throw new OperationError(
    'WRITE_REFUSED',
    `${place}: ${operator} would write to records with encrypted fields what nothing has encrypted. Write to another collection, or ` +
      'save the records one by one.',
  )
}

function checkStage({ schema, place }: Scope, operator: string, given: unknown): void {
  const operand = (typeof given === 'object' && given !== null ? given : {}) as Operand
  switch (operator) {
    case '$sort':
      refuseSort(schema, given, place)
      return
    case '$unset':
      for (const path of [given].flat()) refusePath(schema, String(path), place)
      return
    case '$project':
    case '$addFields':
    case '$set':
      for (const path of Object.keys(operand)) refusePath(schema, path, place)
      break
    case '$fill':
    case '$setWindowFields':
      refuseSort(schema, operand.sortBy, place)
      for (const path of [...Object.keys(operand.output ?? {}), ...(operand.partitionByFields ?? [])]) {
        refusePath(schema, path, place)
      }
      break
    case '$densify':
      refusePath(schema, String(operand.field), place)
      break
  }
  refuseExpression(schema, given, place)
}

/** The schema of the records in a collection of the same connection, where they hold anything encrypted. */
function schemaOfCollection(model: AnyModel, collection: unknown): AnySchema | undefined {
  const models = [model, ...Object.values(model.db.models)] as AnyModel[]
  return models.find((each) => each.collection.name === collection && reachesEncrypted(each.schema))?.schema
}
