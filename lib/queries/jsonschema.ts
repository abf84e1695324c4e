import { type Place, step } from '../schema/layout'
import { checkContents } from './contents'
import { pathBelow, refuseAt, refused } from './refusals'
import { entriesOf, itemsOf, optionsOf } from './values'

/**
 * Refuses a `$jsonSchema` that says what an encrypted value must be. That it must be there can be asked, by `required`.
 *
 * @throws {OperationError} QUERY_REFUSED
 */
export function checkJsonSchema(at: Place | undefined, rules: unknown, place: string, path = ''): void {
  if (at === undefined || !entriesOf(rules)) return
  const said = optionsOf(rules)
  const within = (name: string, child: Place | undefined, inner: unknown) => {
    const full = pathBelow(path, name)
    refuseAt(child, place, full)
    checkJsonSchema(child, inner, place, full)
  }
  const properties = entriesOf(said.properties) ?? []
  for (const [name, inner] of properties) within(name, step(at, name), inner)
  const known = [...at.children, ...(at.any ? [['*', at.any] as const] : [])]
  for (const [pattern, inner] of entriesOf(said.patternProperties) ?? []) {
    for (const [name, child] of known) if (name === '*' || matches(pattern, name)) within(name, child, inner)
  }
  if (entriesOf(said.additionalProperties)?.length) {
    const named = new Set(properties.map(([name]) => name))
    for (const [name, child] of known) if (!named.has(name)) within(name, child, said.additionalProperties)
  }
  // All elements differ where each has an envelope of its own.
  if (said.uniqueItems === true) throw refused(place, path === '' ? 'the record' : path)
  checkContents(place, at, path, said.enum)
  const same = [said.items, said.additionalItems, said.allOf, said.anyOf, said.oneOf, said.not]
  const depending = (entriesOf(said.dependencies) ?? []).map(([, inner]) => inner)
  for (const inner of [...same, ...depending]) {
    for (const each of itemsOf(inner) ?? [inner]) checkJsonSchema(at, each, place, path)
  }
}

/** What MongoDB alone can read as a pattern is taken to match. */
function matches(pattern: string, name: string): boolean {
  try {
    return new RegExp(pattern).test(name)
  } catch {
    return true
  }
}
