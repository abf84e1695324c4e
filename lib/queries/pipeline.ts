import { OperationError } from '../errors'
import { Place } from '../schema/layout'
import { checkContents } from './contents'
import { evaluate } from './expression'
import { translateFilter } from './filter'
import { checkPath } from './paths'
import { type Scope, scopeOf, type Variables } from './scope'
import { arrayOf, merged, objectOf, withPath } from './shapes'
import { anyStage, stages } from './stages'
import { entriesOf, itemsOf, mapEntries, mapItems, optionsOf } from './values'

/** The layout of another collection of the same database; `undefined` where nothing there is encrypted. */
export type RootOf = (collection: string) => Place | undefined

/** What is the same for a pipeline and those within it. */
interface Run {
  readonly rootOf: RootOf
  readonly place: string
}

/** A pipeline, or what one stage is given, as it is to be sent; and the shape of what comes out. */
interface Translated {
  readonly sent: unknown
  readonly shape: Place
}

/**
 * Translates the filters in a pipeline as `translateFilter` does, and checks what else its stages read. It follows what they make of
 * the records, so that an encrypted field is known under each name that it is given.
 *
 * @param place names the operation for messages, such as `User.aggregate()`
 * @returns the same list where nothing has to change
 * @throws {OperationError} QUERY_REFUSED when a stage compares an encrypted field; WRITE_REFUSED when it writes to records
 */
export function translatePipeline(root: Place, pipeline: unknown, rootOf: RootOf, place: string): unknown {
  checkContents(place, undefined, '', pipeline)
  return translateStages({ rootOf, place }, root, pipeline, new Map()).sent
}

function translateStages(run: Run, root: Place, pipeline: unknown, variables: Variables): Translated {
  let shape = root
  const sent = mapItems(pipeline, itemsOf(pipeline) ?? [], (stage) =>
    mapEntries(stage, entriesOf(stage) ?? [], (operator, operand) => {
      const translated = translateStage(run, scopeOf(shape, run.place, variables), operator, operand)
      shape = translated.shape
      return translated.sent
    }),
  )
  return { sent, shape }
}

function translateStage(run: Run, scope: Scope, operator: string, operand: unknown): Translated {
  const join = Object.hasOwn(joins, operator) ? joins[operator] : undefined
  if (join) return join(run, scope, operand)
  const stage = stages.get(operator) ?? anyStage
  return { sent: operand, shape: stage(scope, operand) ?? new Place() }
}

type Join = (run: Run, scope: Scope, operand: unknown) => Translated

/** The stages that hold filters or pipelines, or reach other collections. */
const joins: Readonly<Record<string, Join>> = {
  $match: (_run, { current, place, variables }, operand) => ({
    sent: translateFilter(current, operand, place, variables),
    shape: current,
  }),

  $facet(run, { current, variables }, operand) {
    const shapes: [string, Place | undefined][] = []
    const sent = mapEntries(operand, entriesOf(operand) ?? [], (name, pipeline) => {
      const sub = translateStages(run, current, pipeline, variables)
      shapes.push([name, arrayOf(sub.shape)])
      return sub.sent
    })
    return { sent, shape: objectOf(shapes) ?? new Place() }
  },

  $lookup(run, scope, operand) {
    const { from, localField, foreignField, let: given, as } = optionsOf(operand)
    const foreign = layoutOf(run, from)
    checkPath(scope.current, localField, run.place)
    checkPath(foreign, foreignField, run.place)
    const bound = (entriesOf(given) ?? []).map(([name, value]) => [name, evaluate(scope, value)] as const)
    const { sent, shape } = within(run, foreign, operand, new Map([...scope.variables, ...bound]))
    return { sent, shape: withPath(scope.current, String(as).split('.'), arrayOf(shape)) }
  },

  $graphLookup(run, scope, operand) {
    const { from, startWith, connectFromField, connectToField, as } = optionsOf(operand)
    const foreign = layoutOf(run, from)
    evaluate(scope, startWith)
    checkPath(foreign, connectFromField, run.place)
    checkPath(foreign, connectToField, run.place)
    const { sent, shape } = within(run, foreign, operand, scope.variables)
    return { sent, shape: withPath(scope.current, String(as).split('.'), arrayOf(shape)) }
  },

  $unionWith(run, scope, operand) {
    const foreign = layoutOf(run, operand)
    const { sent, shape } = within(run, foreign, operand, scope.variables)
    return { sent, shape: merged([scope.current, shape]) as Place }
  },

  $geoNear(run, scope, operand) {
    const { near, key, distanceField, includeLocs } = optionsOf(operand)
    evaluate(scope, near)
    for (const path of [key, distanceField, includeLocs]) checkPath(scope.current, path, run.place)
    return { sent: within(run, scope.current, operand, scope.variables).sent, shape: scope.current }
  },

  $merge: writing,
  $out: writing,
}

/** What a stage says of the records of a collection: by a pipeline, or by a filter. */
function within(run: Run, root: Place, operand: unknown, variables: Variables): Translated {
  let shape = root
  const sent = mapEntries(operand, entriesOf(operand) ?? [], (key, value) => {
    if (key === 'restrictSearchWithMatch' || key === 'query') return translateFilter(root, value, run.place, variables)
    if (key !== 'pipeline') return value
    const sub = translateStages(run, root, value, variables)
    shape = sub.shape
    return sub.sent
  })
  return { sent, shape }
}

/** Results can hold anything under any name, so they are not written to where records are. */
function writing(run: Run, scope: Scope, operand: unknown): Translated {
  const collection = nameOf(operand)
  if (collection !== undefined && run.rootOf(collection)) {
    throw new OperationError(
      'WRITE_REFUSED',
      `${run.place}: ${collection} has records with encrypted fields, and nothing encrypts what a pipeline writes. Write to another ` +
        'collection, or save the records one by one.',
    )
  }
  const { let: given, whenMatched } = optionsOf(operand)
  const bound = (entriesOf(given) ?? [['new', '$$ROOT']]).map(
    ([name, value]) => [name, evaluate(scope, value)] as const,
  )
  if (itemsOf(whenMatched)) translateStages(run, new Place(), whenMatched, new Map([...scope.variables, ...bound]))
  return { sent: operand, shape: scope.current }
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
