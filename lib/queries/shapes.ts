import { Place, step } from '../schema/layout'

/**
 * What the results of a stage look like: places again, made of those of the records. None is changed once it is made, for
 * they are shared with the layout of the collection.
 */

/** What several values may be: a path is encrypted that is encrypted in any of them. */
export function merged(shapes: readonly (Place | undefined)[]): Place | undefined {
  const known = [...new Set(shapes.filter((shape) => shape !== undefined))]
  if (known.length < 2) return known[0]
  const all = new Place()
  for (const { isArray, fields, keysOf } of known) {
    all.isArray ||= isArray
    all.fields.push(...fields.filter((each) => !all.fields.includes(each)))
    // What is an index value in some of them alone cannot be asked for in all.
    all.keysOf.push(...keysOf.filter((use) => !all.keysOf.includes(use)))
  }
  const keys = new Set(known.flatMap(({ children }) => [...children.keys()]))
  for (const key of keys)
    all.children.set(key, merged(known.map(({ children, any }) => children.get(key) ?? any)) as Place)
  all.any = merged(known.map(({ any }) => any))
  return all
}

/** An array of what has this shape. */
export function arrayOf(shape: Place | undefined): Place | undefined {
  if (shape === undefined || shape.isArray) return shape
  const array = copyOf(shape)
  array.isArray = true
  return array
}

/** An object of these keys, as far as there is anything encrypted in them. */
export function objectOf(entries: readonly (readonly [string, Place | undefined])[]): Place | undefined {
  const known = entries.filter((entry): entry is [string, Place] => entry[1] !== undefined)
  if (known.length === 0) return undefined
  const object = new Place()
  for (const [key, shape] of known) object.children.set(key, shape)
  return object
}

/** An object of any keys. */
export function mapOf(shape: Place | undefined): Place | undefined {
  if (shape === undefined) return undefined
  const map = new Place()
  map.any = shape
  return map
}

/** All that may stand under the keys of an object. */
export function valuesIn({ children, any }: Place): Place | undefined {
  return merged([...children.values(), any])
}

/** A shape with something else at a path; without anything there, for `undefined`. */
export function withPath(shape: Place, [key, ...rest]: readonly string[], value: Place | undefined): Place {
  if (key === undefined) return value ?? new Place()
  const changed = copyOf(shape)
  const within = shape.children.get(key) ?? shape.any
  if (rest.length > 0) {
    if (within || value) changed.children.set(key, withPath(within ?? unknown(), rest, value))
  } else if (value) changed.children.set(key, value)
  else if (shape.any) changed.children.set(key, new Place())
  else changed.children.delete(key)
  return changed
}

/** The part of a shape that these paths lead to. */
export function onlyPaths(shape: Place, paths: readonly (readonly string[])[]): Place {
  const part = new Place()
  part.isArray = shape.isArray
  for (const [key, ...rest] of paths) {
    const within = key === undefined ? undefined : step(shape, key)
    if (key === undefined || within === undefined) continue
    const picked = rest.length === 0 ? within : onlyPaths(within, [rest])
    part.children.set(key, merged([part.children.get(key), picked]) as Place)
  }
  return part
}

/** What the layout knows nothing of may be an array. */
function unknown(): Place {
  const shape = new Place()
  shape.isArray = true
  return shape
}

function copyOf(shape: Place): Place {
  const copy = new Place()
  for (const [key, child] of shape.children) copy.children.set(key, child)
  copy.any = shape.any
  copy.isArray = shape.isArray
  copy.fields.push(...shape.fields)
  copy.keysOf.push(...shape.keysOf)
  copy.indexOf.push(...shape.indexOf)
  return copy
}
