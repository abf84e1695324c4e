import { Double } from 'bson'
import { sum } from './arithmetic'
import { compare, keyOf } from './compare'
import { type Doc, notImplemented, ServerError } from './errors'
import { compileExpression, type Expression } from './expressions'
import { compileFilter } from './match'
import { compileProjection } from './projection'
import { sortBy } from './sort'
import { clone, field, fromNumber, isDoc, isNumeric, isTrue, toNumber, typeOf } from './values'

type Stage = (docs: Doc[]) => Doc[]
/** Gives the documents of another collection, for `$lookup`. */
type Foreign = (collection: string) => Iterable<Doc>

const STAGES: Record<string, (operand: unknown, foreign: Foreign) => Stage> = {
  $match: (operand) => {
    const predicate = compileFilter(specification('$match', 15959, operand))
    return (docs) => docs.filter((doc) => predicate(doc))
  },
  $sort: (operand) => {
    const pattern = specification('$sort', 15973, operand)
    if (Object.keys(pattern).length === 0) throw new ServerError(15976, '$sort stage must have at least one sort key')
    // A malformed pattern is an error without documents too.
    sortBy(pattern, [], (doc: Doc) => doc)
    return (docs) => sortBy(pattern, docs, (doc) => doc)
  },
  $skip: (operand) => {
    const skip = count('$skip', 5107200, operand)
    return (docs) => docs.slice(skip)
  },
  $limit: (operand) => {
    const limit = count('$limit', 5107201, operand)
    if (limit === 0) throw new ServerError(15958, 'the limit must be positive')
    return (docs) => docs.slice(0, limit)
  },
  $count: (operand) => {
    if (typeof operand !== 'string' || operand === '')
      throw new ServerError(40156, 'the count field must be a non-empty string')
    if (operand.startsWith('$')) throw new ServerError(40158, 'the count field cannot be a $-prefixed path')
    if (operand.includes('.')) throw new ServerError(40160, "the count field cannot contain '.'")
    return (docs) => (docs.length > 0 ? [{ [operand]: fromNumber(docs.length) }] : [])
  },
  $project: (operand) => {
    const spec = specification('$project', 15969, operand)
    if (Object.keys(spec).length === 0)
      throw new ServerError(
        51272,
        'Invalid $project :: caused by :: projection specification must have at least one field',
      )
    return each(compileProjection(spec, { stage: true }))
  },
  $unset: (operand) => each(compileProjection(unsetFields(operand), { stage: true })),
  $addFields: (operand) => each(addFields(operand)),
  $set: (operand) => each(addFields(operand)),
  $replaceRoot: (operand) => each(replaceRoot((operand as Doc).newRoot)),
  $replaceWith: (operand) => each(replaceRoot(operand)),
  $unwind: unwind,
  $group: (operand) => group(specification('$group', 15947, operand)),
  $sortByCount: (operand) => (docs) =>
    sortBy({ count: -1 }, group({ _id: operand, count: { $sum: 1 } })(docs), (doc) => doc),
  $lookup: (operand, foreign) => lookup(operand as Doc, foreign),
  $facet: (operand, foreign) => (docs) => [
    Object.fromEntries(
      Object.entries(operand as Doc).map(([name, stages]) => [name, compilePipeline(stages as Doc[], foreign)(docs)]),
    ),
  ],
}

const UPDATE_STAGES = ['$addFields', '$set', '$project', '$unset', '$replaceRoot', '$replaceWith']

/** Compiles an aggregation pipeline. */
export function compilePipeline(stages: Doc[], foreign: Foreign): Stage {
  const compiled = stages.map((stage) => {
    const [name, ...more] = Object.keys(stage)
    if (name === undefined || more.length > 0) {
      throw new ServerError(40323, 'A pipeline stage specification object must contain exactly one field.')
    }
    const compile = STAGES[name]
    if (compile === undefined) throw notImplemented(`the aggregation stage ${name}`)
    return compile(stage[name], foreign)
  })
  return (docs) => compiled.reduce((input, stage) => stage(input), docs)
}

/** A pipeline as an update: the stages that keep one document one document. */
export function compileUpdatePipeline(stages: Doc[]): (doc: Doc) => Doc {
  for (const stage of stages) {
    const name = Object.keys(stage)[0] ?? ''
    if (!UPDATE_STAGES.includes(name)) throw new ServerError(72, `${name} is not allowed to be used within an update`)
  }
  const run = compilePipeline(stages, () => [])
  return (doc) => run([doc])[0]!
}

function specification(name: string, code: number, operand: unknown): Doc {
  if (!isDoc(operand)) throw new ServerError(code, `the ${name} specification must be an object`)
  return operand
}

function count(name: string, code: number, operand: unknown): number {
  const number = isNumeric(operand) ? toNumber(operand) : Number.NaN
  if (Number.isInteger(number) && number >= 0) return number
  throw new ServerError(code, `invalid argument to ${name} stage: Expected a non-negative integer: ${operand}`)
}

function unsetFields(operand: unknown): Doc {
  const paths = [operand].flat()
  if (paths.length === 0) throw new ServerError(31119, '$unset specification must have at least one field')
  if (paths.some((path) => typeof path !== 'string'))
    throw new ServerError(
      Array.isArray(operand) ? 31120 : 31002,
      '$unset specification must be a string or an array of strings',
    )
  return Object.fromEntries(paths.map((path) => [path, false]))
}

function each(change: (doc: Doc) => Doc): Stage {
  return (docs) => docs.map(change)
}

function addFields(operand: unknown): (doc: Doc) => Doc {
  const spec = specification('$addFields', 40272, operand)
  if (Object.keys(spec).length === 0)
    throw new ServerError(40177, 'Invalid $addFields :: caused by :: specification must have at least one field')
  const fields = flatten(spec, []).map(({ path, value }) => ({
    path,
    expression: compileExpression(value),
  }))
  return (doc) => {
    const result = clone(doc)
    for (const { path, expression } of fields) setPath(result, path, expression(doc))
    return result
  }
}

/** `{ a: { b: 1 } }` and `{ 'a.b': 1 }` set the same field and leave its neighbours. */
function flatten(spec: Doc, prefix: string[]): { path: string[]; value: unknown }[] {
  return Object.entries(spec).flatMap(([key, value]) => {
    const path = [...prefix, ...key.split('.')]
    if (isDoc(value) && Object.keys(value).length === 0)
      throw new ServerError(40180, `an empty object is not a valid value. Found empty object at path ${path.join('.')}`)
    const nested = isDoc(value) && !Object.keys(value)[0]!.startsWith('$')
    return nested ? flatten(value as Doc, path) : [{ path, value }]
  })
}

function setPath(node: Doc, path: string[], value: unknown): void {
  const [name, ...rest] = path as [string, ...string[]]
  if (rest.length === 0) {
    if (value === undefined) delete node[name]
    else node[name] = value
    return
  }
  const next = field(node, name)
  if (Array.isArray(next)) node[name] = next.map((item) => inside(item, rest, value))
  else node[name] = inside(next, rest, value)
}

/** A scalar on the way gives place to a document, as in `$addFields`. */
function inside(node: unknown, path: string[], value: unknown): unknown {
  if (Array.isArray(node)) return node.map((item) => inside(item, path, value))
  const doc = isDoc(node) ? node : {}
  setPath(doc, path, value)
  return doc
}

function replaceRoot(operand: unknown): (doc: Doc) => Doc {
  const expression = compileExpression(operand)
  return (doc) => {
    const root = expression(doc)
    if (!isDoc(root))
      throw new ServerError(
        40228,
        `'newRoot' expression must evaluate to an object, but resulting value was of type ${typeOf(root)}`,
      )
    return root
  }
}

function unwind(operand: unknown): Stage {
  const { path, preserveNullAndEmptyArrays, includeArrayIndex } =
    typeof operand === 'string' ? ({ path: operand } as Doc) : (operand as Doc)
  if (typeof path !== 'string' || !path.startsWith('$'))
    throw new ServerError(28818, `path option to $unwind stage should be prefixed with a '$'`)
  if (includeArrayIndex !== undefined || path.includes('.'))
    throw notImplemented('$unwind of a nested path or with includeArrayIndex')
  const name = path.slice(1)
  return (docs) =>
    docs.flatMap((doc) => {
      const value = field(doc, name)
      if (Array.isArray(value) && value.length > 0) return value.map((item) => ({ ...doc, [name]: item }))
      if (!Array.isArray(value) && value !== undefined && value !== null) return [doc]
      if (!isTrue(preserveNullAndEmptyArrays)) return []
      return [Array.isArray(value) ? Object.fromEntries(Object.entries(doc).filter(([key]) => key !== name)) : doc]
    })
}

/** The accumulators of `$group`, each over the values its expression has in the documents of a group. */
const ACCUMULATORS: Record<string, (values: unknown[]) => unknown> = {
  $sum: (values) => sum(values.filter(isNumeric)),
  $avg: (values) => {
    const numbers = values.filter(isNumeric)
    return numbers.length === 0 ? null : new Double(toNumber(sum(numbers)) / numbers.length)
  },
  $min: (values) => best(values, (result) => result < 0),
  $max: (values) => best(values, (result) => result > 0),
  $first: (values) => values[0] ?? null,
  $last: (values) => values.at(-1) ?? null,
  $push: (values) => values.filter((value) => value !== undefined),
  $addToSet: (values) => [
    ...new Map(values.filter((value) => value !== undefined).map((value) => [keyOf(value), value])).values(),
  ],
  $count: (values) => fromNumber(values.length),
}

function best(values: unknown[], better: (result: number) => boolean): unknown {
  const present = values.filter((value) => value !== undefined && value !== null)
  return present.length === 0 ? null : present.reduce((a, b) => (better(compare(b, a)) ? b : a))
}

function group(spec: Doc): Stage {
  if (spec._id === undefined) throw new ServerError(15955, 'a group specification must include an _id')
  const id = compileExpression(spec._id)
  const fields = Object.entries(spec)
    .filter(([name]) => name !== '_id')
    .map(([name, accumulator]) => {
      const [operator, operand] = Object.entries(accumulator as Doc)[0] ?? ['', null]
      const accumulate = ACCUMULATORS[operator]
      if (accumulate === undefined) throw notImplemented(`the accumulator ${operator}`)
      const expression: Expression = compileExpression(operand)
      return [name, (docs: Doc[]) => accumulate(docs.map(expression))] as const
    })
  return (docs) => {
    const groups = new Map<string, { id: unknown; docs: Doc[] }>()
    for (const doc of docs) {
      const value = id(doc) ?? null
      const key = keyOf(value)
      const members = groups.get(key)
      if (members === undefined) groups.set(key, { id: value, docs: [doc] })
      else members.docs.push(doc)
    }
    return [...groups.values()].map((members) =>
      Object.fromEntries([
        ['_id', members.id],
        ...fields.map(([name, accumulate]) => [name, accumulate(members.docs)]),
      ]),
    )
  }
}

function lookup({ from, localField, foreignField, as, ...unknown }: Doc, foreign: Foreign): Stage {
  const extra = Object.keys(unknown)[0]
  if (extra !== undefined) throw notImplemented(`${extra} in $lookup`)
  if ([from, localField, foreignField, as].some((name) => typeof name !== 'string') || String(as).includes('.')) {
    throw notImplemented('$lookup other than by from, localField, foreignField and a top-level as')
  }
  const local = compileExpression(`$${localField}`)
  return each((doc) => {
    const value = local(doc) ?? null
    const predicate = compileFilter({ [foreignField as string]: { $in: Array.isArray(value) ? value : [value] } })
    return { ...doc, [as as string]: [...foreign(from as string)].filter((other) => predicate(other)) }
  })
}
