import { Place, step } from '../schema/layout'

/**
 * What the results of a stage look like: places again, made of those of the records. None is changed once it is made, for
 * they are shared with the layout of the collection.
 */

/** What is any of several values: a path is encrypted that is encrypted in any of them, and untouched that is so in all. */
export function merged(shapes: readonly (Place | undefined)[]): Place | undefined {
  const different = [...new Set(shapes)]
  const known = different.filter((shape) => shape !== undefined)
  if (known.length < 2) return different.length > known.length ? touched(known[0]) : known[0]
  const all = new Place()
  all.isTouched = true
  for (const { isArray, fields, keysOf, indexOf } of known) {
    all.isArray ||= isArray
    all.fields.push(...fields.filter((each) => !all.fields.includes(each)))
    all.keysOf.push(...keysOf.filter((use) => !all.keysOf.includes(use)))
    all.indexOf.push(...indexOf.filter((field) => !all.indexOf.includes(field)))
  }
  const keys = new Set(known.flatMap(({ children }) => [...children.keys()]))
  for (const key of keys)
    all.children.set(key, merged(known.map(({ children, any }) => children.get(key) ?? any)) as Place)
  all.any = merged(known.map(({ any }) => any))
  return all
}

/** The same places, of which none need hold what was stored there. */
export function touched(shape: Place): Place
export function touched(shape: Place | undefined): Place | undefined
export function touched(shape: Place | undefined): Place | undefined {
  if (shape === undefined) return undefined
  const changed = copyOf(shape)
  changed.isTouched = true
  changed.any = touched(shape.any)
  for (const [key, child] of shape.children) changed.children.set(key, touched(child))
  return changed
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
  changed.isTouched = true
  const within = shape.children.get(key) ?? shape.any
  if (rest.length > 0) {
    if (within || value) changed.children.set(key, withPath(within ?? unknown(), rest, value))
  } else if (value) changed.children.set(key, value)
  else if (shape.any) changed.children.set(key, new Place())
  else changed.children.delete(key)
  return changed
}

/** A shape without what stands at a path. It is still known there: who asks for it later asks for what is encrypted. */
export function withoutPath(shape: Place, [key, ...rest]: readonly string[]): Place {
  if (key === undefined) return touched(shape)
  const within = shape.children.get(key) ?? shape.any
  if (within === undefined) return shape
  const changed = copyOf(shape)
  changed.children.set(key, withoutPath(within, rest))
  return changed
}

/** A shape without anything but what these paths lead to. */
export function onlyPaths(shape: Place, paths: readonly (readonly string[])[]): Place {
  if (paths.some((path) => path.length === 0)) return shape
  const part = copyOf(shape)
  part.isTouched = true
  part.any = touched(shape.any)
  const keys = new Set([...shape.children.keys(), ...paths.map(([key]) => key as string)])
  for (const key of keys) {
    const within = step(shape, key)
    const below = paths.filter(([first]) => first === key).map((path) => path.slice(1))
    if (within) part.children.set(key, below.length > 0 ? onlyPaths(within, below) : touched(within))
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
  copy.isTouched = shape.isTouched
  return copy
}
