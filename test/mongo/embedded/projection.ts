import { type Doc, notImplemented, ServerError } from './errors'
import { compileExpression, type Expression } from './expressions'
import { elementTest } from './match'
import { field, isDoc, isNumeric, isTrue, toNumber } from './values'

type Projection = (doc: Doc) => Doc

/** A projection as a tree: what is done at each field. */
type Tree = Map<string, Tree | Leaf>
type Leaf =
  | { kind: 'include' }
  | { kind: 'exclude' }
  | { kind: 'change'; change: (value: unknown) => unknown; including?: boolean }
  | { kind: 'compute'; expression: Expression }

/**
 * Compiles the projection of `find`, or the specification of a `stage` (where `$elemMatch` does not exist, and `$slice`
 * is the expression).
 *
 * @throws {ServerError} 31253 or 31254 when inclusion and exclusion are mixed, 31249 for colliding paths
 */
export function compileProjection(spec: Doc, { stage = false } = {}): Projection {
  const tree: Tree = new Map()
  addFields(tree, [], spec, stage)
  const leaves = [...leavesOf(tree, [])]
  const decisive = leaves.filter(([path, leaf]) => path !== '_id' && leaf.kind !== 'change')
  const idLeaf = tree.get('_id')
  const matched = leaves.some(([, leaf]) => leaf.kind === 'change' && leaf.including)
  const including = decisive[0]
    ? decisive[0][1].kind !== 'exclude'
    : matched || (idLeaf !== undefined && 'kind' in idLeaf && idLeaf.kind === 'include')
  for (const [path, leaf] of decisive) {
    if (including && leaf.kind === 'exclude')
      throw new ServerError(31254, `Cannot do exclusion on field ${path} in inclusion projection`)
    if (!including && leaf.kind !== 'exclude')
      throw new ServerError(31253, `Cannot do inclusion on field ${path} in exclusion projection`)
  }
  if (including && idLeaf === undefined) tree.set('_id', { kind: 'include' })
  return (doc) => project(doc, tree, including, doc) as Doc
}

function* leavesOf(tree: Tree, path: string[]): Iterable<[string, Leaf]> {
  for (const [name, node] of tree) {
    if (node instanceof Map) yield* leavesOf(node, [...path, name])
    else yield [[...path, name].join('.'), node]
  }
}

function addFields(tree: Tree, prefix: string[], spec: Doc, stage: boolean): void {
  for (const [key, value] of Object.entries(spec)) {
    const path = [...prefix, ...key.split('.')]
    if (path.some((part) => part === '$')) throw notImplemented('the positional projection')
    if (path.some((part) => part === '' || part.startsWith('$')))
      throw new ServerError(16410, `Invalid $project field '${key}'`)
    if (isDoc(value) && !Object.keys(value)[0]?.startsWith('$')) {
      if (Object.keys(value).length === 0) throw new ServerError(51270, 'An empty sub-projection is not a valid value.')
      addFields(tree, path, value, stage)
    } else addLeaf(tree, path, (stage ? undefined : findLeaf(value)) ?? leafOf(value))
  }
}

function leafOf(value: unknown): Leaf {
  if (typeof value === 'boolean' || isNumeric(value)) return { kind: isTrue(value) ? 'include' : 'exclude' }
  return { kind: 'compute', expression: compileExpression(value) }
}

/** What only the projection of `find` knows. */
function findLeaf(value: unknown): Leaf | undefined {
  if (!isDoc(value)) return undefined
  if (value.$elemMatch !== undefined) {
    const test = elementTest(value.$elemMatch)
    const change = (items: unknown) => {
      const item = Array.isArray(items) ? items.find((element) => test(element)) : undefined
      return item === undefined ? undefined : [item]
    }
    return { kind: 'change', change, including: true }
  }
  if (isNumeric(value.$slice) || (Array.isArray(value.$slice) && value.$slice.every(isNumeric))) {
    return { kind: 'change', change: (items) => (Array.isArray(items) ? slice(items, value.$slice) : items) }
  }
  return undefined
}

function slice(items: unknown[], operand: unknown): unknown[] {
  if (!Array.isArray(operand)) {
    const count = toNumber(operand)
    return count < 0 ? items.slice(count) : items.slice(0, count)
  }
  const [skip, limit] = operand.map(toNumber) as [number, number]
  const start = skip < 0 ? Math.max(0, items.length + skip) : skip
  return items.slice(start, start + limit)
}

function addLeaf(tree: Tree, path: string[], leaf: Leaf): void {
  let node = tree
  for (const [i, part] of path.entries()) {
    const next = node.get(part)
    const last = i === path.length - 1
    if (last ? next !== undefined : next !== undefined && !(next instanceof Map)) {
      throw new ServerError(31249, `Path collision at ${path.join('.')}`)
    }
    if (last) node.set(part, leaf)
    else if (next === undefined) node.set(part, new Map())
    node = node.get(part) as Tree
  }
}

function project(node: unknown, tree: Tree, including: boolean, root: Doc): unknown {
  if (Array.isArray(node)) {
    const items = including ? node.filter((item) => isDoc(item) || Array.isArray(item)) : node
    return items.map((item) => project(item, tree, including, root))
  }
  if (!isDoc(node)) return node
  const result: Doc = {}
  for (const [name, value] of Object.entries(node)) {
    const rule = tree.get(name)
    if (rule === undefined) {
      if (!including) result[name] = value
      continue
    }
    const kept = applyRule(value, rule, including, root)
    if (kept !== undefined) result[name] = kept
  }
  for (const [name, rule] of tree) {
    const computed =
      field(node, name) === undefined || (!(rule instanceof Map) && rule.kind === 'compute')
        ? compute(rule, root)
        : undefined
    if (computed === undefined) continue
    // A computed field stands after the included ones, even where the document had it earlier.
    delete result[name]
    result[name] = computed
  }
  return result
}

function applyRule(value: unknown, rule: Tree | Leaf, including: boolean, root: Doc): unknown {
  if (rule instanceof Map) {
    if (isDoc(value) || Array.isArray(value)) return project(value, rule, including, root)
    return including ? compute(rule, root) : value
  }
  if (rule.kind === 'include') return value
  return rule.kind === 'change' ? rule.change(value) : undefined
}

function compute(rule: Tree | Leaf, root: Doc): unknown {
  if (!(rule instanceof Map)) return rule.kind === 'compute' ? rule.expression(root) : undefined
  const fields = [...rule]
    .map(([name, inner]) => [name, compute(inner, root)] as const)
    .filter(([, value]) => value !== undefined)
  return fields.length > 0 ? Object.fromEntries(fields) : undefined
}
