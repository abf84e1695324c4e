import { Place, step } from '../schema/layout'
import { checkFilter } from './filter'
import { checkPath } from './paths'
import { entriesOf, hasOperators, itemsOf } from './values'

/**
 * Refuses array filters that ask for an encrypted field of the elements they choose: `{ 'e.phone': … }` for a path such as
 * `contacts.$[e].label`.
 *
 * @param place names the operation for messages, such as `User.updateOne()`
 * @throws {OperationError} QUERY_REFUSED
 */
export function checkArrayFilters(root: Place, update: unknown, arrayFilters: unknown, place: string): void {
  const filters = itemsOf(arrayFilters)
  if (!filters) return
  const named = `${place} arrayFilters`
  // Without any element known, it is still looked for the values of encrypted fields.
  for (const elements of [new Place(), ...elementsOf(root, update)]) {
    for (const filter of filters) {
      checkFilter(elements, filter, named)
      checkKeys(elements, filter, named)
    }
  }
}

/** For each path with identifiers, these as the keys of what they stand for. */
function elementsOf(root: Place, update: unknown): Place[] {
  const entries = entriesOf(update) ?? []
  const paths = hasOperators(entries) ? entries.flatMap(([, operand]) => entriesOf(operand) ?? []) : entries
  return paths.flatMap(([path]) => {
    const elements = new Place()
    let at: Place | undefined = root
    for (const segment of path.split('.')) {
      at = step(at, segment)
      const [, identifier] = /^\$\[(\w+)\]$/.exec(segment) ?? []
      if (at && identifier) elements.children.set(identifier, at)
    }
    return elements.isClear ? [] : [elements]
  })
}

/** By a path, not even whether it is there can be asked. */
function checkKeys(elements: Place, filter: unknown, place: string): void {
  for (const item of itemsOf(filter) ?? []) checkKeys(elements, item, place)
  for (const [key, condition] of entriesOf(filter) ?? []) {
    if (key.startsWith('$')) checkKeys(elements, condition, place)
    else checkPath(elements, key, place)
  }
}
