import { refuseExpression, refusePath, refuseSort, translateFilter } from './filters'
import type { AnySchema } from './host'

type Stage = Readonly<Record<string, unknown>>

/**
 * Rewrites the `$match` stages of a pipeline as filters are, and checks the others.
 *
 * @throws {OperationError} QUERY_REFUSED when a stage reads an encrypted field
 */
export function translatePipeline(schema: AnySchema, pipeline: readonly Stage[], place: string): Stage[] {
  return pipeline.map((stage) => {
    const [operator] = Object.keys(stage)
    if (operator === '$match') return { $match: translateFilter(schema, stage.$match, place) }
    if (operator === '$facet') {
      const facets = Object.entries(stage.$facet as Record<string, Stage[]>)
      return { $facet: Object.fromEntries(facets.map(([name, sub]) => [name, translatePipeline(schema, sub, place)])) }
    }
    if (operator !== undefined) checkStage(schema, operator, stage[operator], place)
    return stage
  })
}

function checkStage(schema: AnySchema, operator: string, operand: unknown, place: string): void {
  switch (operator) {
    case '$sort':
      refuseSort(schema, operand, place)
      return
    case '$unset':
      for (const path of [operand].flat()) refusePath(schema, String(path), place)
      return
    case '$project':
    case '$addFields':
    case '$set':
      for (const path of Object.keys(operand as object)) refusePath(schema, path, place)
      refuseExpression(schema, operand, place)
      return
    case '$unwind': {
      const path = typeof operand === 'string' ? operand : (operand as { path?: string }).path
      refuseExpression(schema, path, place)
      return
    }
    case '$lookup':
    case '$graphLookup': {
      // What they say of the other collection is none of this schema's business.
      const { localField, startWith, let: variables } = operand as Record<string, unknown>
      if (typeof localField === 'string') refusePath(schema, localField, place)
      refuseExpression(schema, startWith, place)
      refuseExpression(schema, variables, place)
      return
    }
    case '$unionWith':
      return
    default:
      refuseExpression(schema, operand, place)
  }
}
