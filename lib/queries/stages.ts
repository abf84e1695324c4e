import type { Place } from '../schema/layout'
import { evaluate } from './expression'
import { checkField, checkPath, checkSort } from './paths'
import type { Scope } from './scope'
import { arrayOf, merged, objectOf, onlyPaths, withoutPath, withPath } from './shapes'
import { entriesOf, isOff, isSwitch, itemsOf, optionsOf, pathsIn } from './values'

/**
 * The stages that compute each result of one or more records, and need to know of no other collection. Each checks what it reads,
 * and tells the shape of what comes out; one that is not here is only checked, and what goes in comes out.
 */
export type Stage = (scope: Scope, operand: unknown) => Place | undefined

/** A stage that is not known reads by expressions, as all do. */
export const anyStage: Stage = (scope, operand) => {
  evaluate(scope, operand)
  return scope.current
}

/** The paths that a stage sets, with what comes to stand there. None may be encrypted, for nothing would encrypt it. */
function computed(
  scope: Scope,
  operand: unknown,
  isSet: (given: unknown) => boolean,
): { path: readonly string[]; given: unknown; value: Place | undefined }[] {
  return pathsIn(operand).map(([path, given]) => {
    const check = isSet(given) ? checkPath : checkField
    check(scope.current, path, scope.place)
    return { path: path.split('.'), given, value: evaluate(scope, given) }
  })
}

const adding: Stage = (scope, operand) =>
  computed(scope, operand, () => true).reduce((shape, { path, value }) => withPath(shape, path, value), scope.current)

const projecting: Stage = (scope, operand) => {
  const entries = computed(scope, operand, (given) => !isSwitch(given))
  const isExclusive =
    entries.every(({ given }) => isOff(given)) || entries.some(({ path, given }) => path[0] !== '_id' && isOff(given))
  const start = isExclusive ? scope.current : onlyPaths(scope.current, [['_id'], ...entries.map(({ path }) => path)])
  return entries.reduce((shape, { path, given, value }) => {
    if (!isSwitch(given)) return withPath(shape, path, value)
    return isOff(given) ? withoutPath(shape, path) : shape
  }, start)
}

/** Names with accumulators, such as `{ all: { $push: '$$ROOT' } }`. */
const grouping: Stage = (scope, output) =>
  objectOf((entriesOf(output) ?? []).map(([name, value]) => [name, evaluate(scope, value)]))

const bucketing: Stage = (scope, operand) => {
  const { groupBy, output, ...rest } = optionsOf(operand)
  evaluate(scope, rest)
  return merged([objectOf([['_id', evaluate(scope, groupBy)]]), grouping(scope, output)])
}

/** Paths that are computed from neighbours in an order. */
function ordered(scope: Scope, operand: unknown, shapeOf: (given: unknown) => Place | undefined): Place {
  const { current, place } = scope
  const { sortBy, partitionBy, partitionByFields, output } = optionsOf(operand)
  checkSort(current, sortBy, place)
  evaluate(scope, partitionBy)
  for (const path of itemsOf(partitionByFields) ?? []) checkPath(current, path, place)
  return (entriesOf(output) ?? []).reduce((shape, [path, given]) => {
    checkPath(current, path, place)
    return withPath(shape, path.split('.'), shapeOf(given))
  }, current)
}

const windowing: Stage = (scope, operand) => ordered(scope, operand, (given) => arrayOf(evaluate(scope, given)))

/** What is filled in where something is missing stands beside what is there. */
const filling: Stage = (scope, operand) =>
  merged([scope.current, ordered(scope, operand, (given) => evaluate(scope, optionsOf(given).value))])

/** Search by another engine names its paths by an option. */
const searching: Stage = (scope, operand) => {
  for (const item of itemsOf(operand) ?? []) searching(scope, item)
  for (const [key, value] of entriesOf(operand) ?? []) {
    const paths = key === 'path' ? (itemsOf(value) ?? [value]) : []
    for (const path of paths) checkPath(scope.current, optionsOf(path).value ?? path, scope.place)
    searching(scope, value)
  }
  return scope.current
}

/** The paths within are read again at each object on the way down. */
const redacting: Stage = (scope, operand) => {
  const visit = (at: Place) => {
    evaluate({ ...scope, current: at }, operand)
    for (const child of [...at.children.values(), at.any]) {
      if (child && child.fields.length === 0 && child.keysOf.length === 0) visit(child)
    }
  }
  visit(scope.current)
  return scope.current
}

const unwinding: Stage = (scope, operand) => {
  const { path = operand, includeArrayIndex: index } = optionsOf(operand)
  evaluate(scope, path)
  return typeof index === 'string' ? withPath(scope.current, index.split('.'), undefined) : scope.current
}

export const stages: ReadonlyMap<string, Stage> = new Map(
  Object.entries({
    $project: projecting,
    $addFields: adding,
    $set: adding,
    $unset: ({ current, place }, operand) =>
      (itemsOf(operand) ?? [operand]).reduce<Place>((shape, path) => {
        checkField(current, path, place)
        return withoutPath(shape, String(path).split('.'))
      }, current),
    $replaceRoot: (scope, operand) => evaluate(scope, optionsOf(operand).newRoot),
    $replaceWith: evaluate,
    $group: grouping,
    $bucket: bucketing,
    $bucketAuto: bucketing,
    $sortByCount: (scope, operand) => objectOf([['_id', evaluate(scope, operand)]]),
    $count: () => undefined,
    $documents: evaluate,
    $sort: ({ current, place }, operand) => {
      checkSort(current, operand, place)
      return current
    },
    $unwind: unwinding,
    $redact: redacting,
    $setWindowFields: windowing,
    $fill: filling,
    $densify: ({ current, place }, operand) => {
      const { field, partitionByFields } = optionsOf(operand)
      for (const path of [field, ...(itemsOf(partitionByFields) ?? [])]) checkPath(current, path, place)
      return current
    },
    $search: searching,
    $searchMeta: searching,
    $vectorSearch: searching,
  } satisfies Record<string, Stage>),
)
