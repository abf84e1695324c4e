import { OperationError } from '../errors'
import { Place } from '../schema/layout'
import { checkContents } from './contents'
import { evaluate } from './expression'
import { checkFilter } from './filter'
import { checkPath } from './paths'
import { binding, type Scope, scopeOf, type Variables } from './scope'
import { arrayOf, merged, objectOf, withPath } from './shapes'
import { anyStage, stages } from './stages'
import { type Compare, hasIndexes, translateFilter } from './translation'
import { entriesOf, itemsOf, optionsOf } from './values'

/** The layout of another collection of the same database; `undefined` where nothing there is encrypted. */
export type RootOf = (collection: string) => Place | undefined

/** What is the same for a pipeline and those within it. */
interface Run {
  readonly rootOf: RootOf
  readonly place: string
}

/**
 * Checks the filters in a pipeline as `checkFilter` does, and what else its stages read. It follows what they make of the records, so
 * that an encrypted field is known under each name that it is given.
 *
 * @param place names the operation for messages, such as `User.aggregate()`
 * @throws {OperationError} QUERY_REFUSED when a stage compares an encrypted field; WRITE_REFUSED when it writes to records
 */
export function checkPipeline(root: Place, pipeline: unknown, rootOf: RootOf, place: string): void {
  checkContents(place, undefined, '', pipeline)
  checkStages({ rootOf, place }, root, pipeline, new Map())
}

/**
 * The same, with the comparisons of indexed fields asked of their index values, as long as these stand beside them: a stage may leave them
 * out, or something else may come to stand there.
 *
 * @returns the pipeline itself, where nothing is to be translated
 */
export function translatePipeline(
  root: Place,
  pipeline: unknown,
  rootOf: RootOf,
  place: string,
  compare: Compare,
): unknown {
  if (!hasIndexes(root)) {
    checkPipeline(root, pipeline, rootOf, place)
    return pipeline
  }
  checkContents(place, undefined, '', pipeline)
  let shape = root
  let isChanged = false
  const translated = (itemsOf(pipeline) ?? []).map((stage) => {
    const entries = (entriesOf(stage) ?? []).map(([operator, operand]): [string, unknown] => {
      if (operator === '$match') return [operator, translateFilter(shape, operand, place, compare)]
      shape = checkStage({ rootOf, place }, scopeOf(shape, place), operator, operand)
      return [operator, operand]
    })
    const isSame = entries.every(([operator, operand]) => operand === optionsOf(stage)[operator])
    isChanged ||= !isSame
    return isSame ? stage : Object.fromEntries(entries)
  })
  return isChanged ? translated : pipeline
}

/** Gives the shape of what comes out. */
function checkStages(run: Run, root: Place, pipeline: unknown, variables: Variables): Place {
  const stages = (itemsOf(pipeline) ?? []).flatMap((stage) => entriesOf(stage) ?? [])
  return stages.reduce(
    (shape, [operator, operand]) => checkStage(run, scopeOf(shape, run.place, variables), operator, operand),
    root,
  )
}

function checkStage(run: Run, scope: Scope, operator: string, operand: unknown): Place {
  const join = Object.hasOwn(joins, operator) ? joins[operator] : undefined
  if (join) return join(run, scope, operand)
  return (stages.get(operator) ?? anyStage)(scope, operand) ?? new Place()
}

type Join = (run: Run, scope: Scope, operand: unknown) => Place

/** The stages that hold filters or pipelines, or reach other collections. */
const joins: Readonly<Record<string, Join>> = {
  $match(_run, { current, place, variables }, operand) {
    checkFilter(current, operand, place, variables)
    return current
  },

  $facet(run, { current, variables }, operand) {
    const shapes = (entriesOf(operand) ?? []).map(
      ([name, pipeline]) => [name, arrayOf(checkStages(run, current, pipeline, variables))] as const,
    )
    return objectOf(shapes) ?? new Place()
  },

  $lookup(run, scope, operand) {
    const { from, localField, foreignField, let: given, as } = optionsOf(operand)
    const foreign = layoutOf(run, from)
    checkPath(scope.current, localField, run.place)
    checkPath(foreign, foreignField, run.place)
    const shape = within(run, foreign, operand, bound(scope, entriesOf(given)))
    return withPath(scope.current, String(as).split('.'), arrayOf(shape))
  },

  $graphLookup(run, scope, operand) {
    const { from, startWith, connectFromField, connectToField, as } = optionsOf(operand)
    const foreign = layoutOf(run, from)
    evaluate(scope, startWith)
    checkPath(foreign, connectFromField, run.place)
    checkPath(foreign, connectToField, run.place)
    const shape = within(run, foreign, operand, scope.variables)
    return withPath(scope.current, String(as).split('.'), arrayOf(shape))
  },

  $unionWith(run, scope, operand) {
    return merged([scope.current, within(run, layoutOf(run, operand), operand, scope.variables)]) as Place
  },

  $geoNear(run, scope, operand) {
    const { near, key, distanceField, includeLocs } = optionsOf(operand)
    evaluate(scope, near)
    for (const path of [key, distanceField, includeLocs]) checkPath(scope.current, path, run.place)
    within(run, scope.current, operand, scope.variables)
    return scope.current
  },

  $merge: writing,
  $out: writing,
}

/** What a stage says of the records of a collection, by a pipeline or by a filter, and the shape of those that it gives. */
function within(run: Run, root: Place, operand: unknown, variables: Variables): Place {
  let shape = root
  for (const [key, value] of entriesOf(operand) ?? []) {
    if (key === 'restrictSearchWithMatch' || key === 'query') checkFilter(root, value, run.place, variables)
    if (key === 'pipeline') shape = checkStages(run, root, value, variables)
  }
  return shape
}

/** The variables of a scope, and those that a stage makes by expressions. */
function bound(scope: Scope, made: readonly (readonly [string, unknown])[] = []): Variables {
  const values = made.map(([name, value]) => [name, evaluate(scope, value)])
  return binding(scope, Object.fromEntries(values)).variables
}

/** Results can hold anything under any name, so they are not written to where records are. */
function writing(run: Run, scope: Scope, operand: unknown): Place {
  const collection = nameOf(operand)
  if (collection !== undefined && run.rootOf(collection)) {
    throw new OperationError(
      'WRITE_REFUSED',
      `${run.place}: ${collection} has records with encrypted fields, and nothing encrypts what a pipeline writes. Write to another ` +
        'collection, or save the records one by one.',
    )
  }
  const { let: given, whenMatched } = optionsOf(operand)
  const variables = bound(scope, entriesOf(given) ?? [['new', '$$ROOT']])
  if (itemsOf(whenMatched)) checkStages(run, new Place(), whenMatched, variables)
  return scope.current
}

function layoutOf({ rootOf }: Run, given: unknown): Place {
  const collection = nameOf(given)
  return (collection === undefined ? undefined : rootOf(collection)) ?? new Place()
}

/** The collection that a stage names, with its database or without. */
function nameOf(given: unknown): string | undefined {
  if (typeof given === 'string') return given
  const { into, coll = into } = optionsOf(given)
  return coll === undefined ? undefined : nameOf(coll)
}
