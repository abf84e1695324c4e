import { OperationError } from '../errors'
import { Place } from '../schema/layout'
import { checkContents } from './contents'
import { evaluate } from './expression'
import { checkFilter } from './filter'
import { translateJoin } from './join'
import { checkPath } from './paths'
import { binding, type Scope, scopeOf, type Variables } from './scope'
import { arrayOf, merged, objectOf, withPath } from './shapes'
import { anyStage, stages } from './stages'
import { type Compare, translateFilter } from './translation'
import { entriesOf, itemsOf, optionsOf } from './values'

/** The layout of another collection of the same database; `undefined` where nothing there is encrypted. */
export type RootOf = (collection: string) => Place | undefined

/** What is the same for a pipeline and those within it. */
interface Run {
  readonly rootOf: RootOf
  readonly place: string
  readonly compare: Compare | undefined
}

/** What comes out of a stage or pipeline, and what is to be sent of it: itself, where nothing in it is translated. */
interface Outcome {
  readonly shape: Place
  readonly sent: unknown
}

/**
 * Checks the filters in a pipeline as `checkFilter` does, and what else its stages read. It follows what they make of the records, so
 * that an encrypted field is known under each name that it is given.
 *
 * @param place names the operation for messages, such as `User.aggregate()`
 * @param compare gives what indexed fields are compared with, as long as index values stand beside them: a stage may leave them out, or
 *   something else may come to stand there
 * @returns the pipeline to send: itself, where nothing is translated
 * @throws {OperationError} QUERY_REFUSED when a stage compares an encrypted field; WRITE_REFUSED when it writes to records
 */
export function checkPipeline(
  root: Place,
  pipeline: unknown,
  rootOf: RootOf,
  place: string,
  compare?: Compare,
): unknown {
  checkContents(place, undefined, '', pipeline)
  return checkStages({ rootOf, place, compare }, root, pipeline, new Map()).sent
}

/** The same of a pipeline that looks at changes of records, not at records. */
export function checkChanges(root: Place, pipeline: unknown, rootOf: RootOf, place: string): void {
  const updated = objectOf([['updatedFields', root]])
  const change = objectOf([
    ['fullDocument', root],
    ['fullDocumentBeforeChange', root],
    ['updateDescription', updated],
  ])
  checkPipeline(change as Place, pipeline, rootOf, place)
}

function checkStages(run: Run, root: Place, pipeline: unknown, variables: Variables): Outcome {
  let shape = root
  const stages = itemsOf(pipeline) ?? []
  const sent = Array.from(stages, (stage) =>
    withValues(stage, (operator, operand) => {
      const outcome = checkStage(run, scopeOf(shape, run.place, variables), operator, operand)
      shape = outcome.shape
      return outcome.sent
    }),
  )
  return { shape, sent: sent.some((stage, index) => stage !== stages[index]) ? sent : pipeline }
}

function checkStage(run: Run, scope: Scope, operator: string, operand: unknown): Outcome {
  const join = Object.hasOwn(joins, operator) ? joins[operator] : undefined
  if (join) return join(run, scope, operand)
  return { shape: (stages.get(operator) ?? anyStage)(scope, operand) ?? new Place(), sent: operand }
}

/** An object with other values, or itself where all stay as they are. */
function withValues(given: unknown, replace: (key: string, value: unknown) => unknown): unknown {
  const entries = entriesOf(given) ?? []
  const values = entries.map(([key, value]): [string, unknown] => [key, replace(key, value)])
  return values.some(([, value], index) => value !== entries[index]?.[1]) ? Object.fromEntries(values) : given
}

type Join = (run: Run, scope: Scope, operand: unknown) => Outcome

/** The stages that hold filters or pipelines, or reach other collections. */
const joins: Readonly<Record<string, Join>> = {
  $match(run, { current, variables }, operand) {
    return { shape: current, sent: filterOf(run, current, operand, variables) }
  },

  $facet(run, { current, variables }, operand) {
    const shapes: [string, Place | undefined][] = []
    const sent = withValues(operand, (name, pipeline) => {
      const outcome = checkStages(run, current, pipeline, variables)
      shapes.push([name, arrayOf(outcome.shape)])
      return outcome.sent
    })
    return { shape: objectOf(shapes) ?? new Place(), sent }
  },

  $lookup(run, scope, operand) {
    const { from, localField, foreignField, let: given, as } = optionsOf(operand)
    const foreign = layoutOf(run, from)
    const join: object = translateJoin(scope.current, foreign, { localField, foreignField }, run.place)
    const joined = withValues(operand, (key, value) => (Object.hasOwn(join, key) ? join[key as never] : value))
    const { shape, sent } = within(run, foreign, joined, bound(scope, entriesOf(given)))
    return { shape: withPath(scope.current, String(as).split('.'), arrayOf(shape)), sent }
  },

  $graphLookup(run, scope, operand) {
    const { from, startWith, connectFromField, connectToField, as, depthField } = optionsOf(operand)
    const foreign = layoutOf(run, from)
    evaluate(scope, startWith)
    for (const path of [connectFromField, connectToField, depthField]) checkPath(foreign, path, run.place)
    const { shape, sent } = within(run, foreign, operand, scope.variables)
    return { shape: withPath(scope.current, String(as).split('.'), arrayOf(shape)), sent }
  },

  $unionWith(run, scope, operand) {
    const { shape, sent } = within(run, layoutOf(run, operand), operand, scope.variables)
    return { shape: merged([scope.current, shape]) as Place, sent }
  },

  $geoNear(run, scope, operand) {
    const { near, key, distanceField, includeLocs } = optionsOf(operand)
    evaluate(scope, near)
    for (const path of [key, distanceField, includeLocs]) checkPath(scope.current, path, run.place)
    return { shape: scope.current, sent: within(run, scope.current, operand, scope.variables).sent }
  },

  $merge: writing,
  $out: writing,
}

/** A filter within a pipeline, as it is to be sent. */
function filterOf({ place, compare }: Run, at: Place, filter: unknown, variables: Variables): unknown {
  if (compare) return translateFilter(at, filter, place, compare, variables)
  checkFilter(at, filter, place, variables)
  return filter
}

/** What a stage says of the records of a collection, by a pipeline or by a filter, and the shape of those that it gives. */
function within(run: Run, root: Place, operand: unknown, variables: Variables): Outcome {
  let shape = root
  const sent = withValues(operand, (key, value) => {
    if (key === 'restrictSearchWithMatch' || key === 'query') return filterOf(run, root, value, variables)
    if (key !== 'pipeline') return value
    const outcome = checkStages(run, root, value, variables)
    shape = outcome.shape
    return outcome.sent
  })
  return { shape, sent }
}

/** The variables of a scope, and those that a stage makes by expressions. */
function bound(scope: Scope, made: readonly (readonly [string, unknown])[] = []): Variables {
  const values = made.map(([name, value]) => [name, evaluate(scope, value)])
  return binding(scope, Object.fromEntries(values)).variables
}

/** Results can hold anything under any name, so they are not written to where records are. */
function writing(run: Run, scope: Scope, operand: unknown): Outcome {
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
  return { shape: scope.current, sent: operand }
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
