import type { Method, Plain } from './host'

/**
 * Methods of a collection as they are now, also where they are called later: until the connection is open, Mongoose keeps the call and then calls
 * the method of that name, or the one that has come in its place. `queue` of collections; `test/queries/cursors` would be asked twice.
 */
export function methodsOf(collection: Plain, names: readonly string[]): Readonly<Record<string, Method>> {
  const methods: Plain = {}
  const get = (target: Plain, name: string) => (Object.hasOwn(methods, name) ? methods[name] : target[name])
  const kept = new Proxy(collection, { get: get as never })
  for (const name of names) methods[name] = collection[name]?.bind(kept)
  for (const name of ['addQueue', 'removeQueue']) {
    // By its name in Mongoose 8, and by a function of its own in 9.
    methods[name] = (called: unknown, args: unknown) => collection[name](methods[called as string] ?? called, args)
  }
  return methods
}
