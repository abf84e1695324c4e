import type { Doc, Method, Plain } from './host'

/**
 * Methods of a collection as they are now, also where they are called later: until the connection is open, Mongoose keeps the call and then calls
 * the method of that name, or the one that has come in its place. `queue` and `buffer` of collections; `test/queries/cursors` would be asked twice.
 */
export function methodsOf(collection: Plain, names: readonly string[]): Readonly<Record<string, Method>> {
  const methods: Plain = {}
  const get = (target: Plain, name: string) => (Object.hasOwn(methods, name) ? methods[name] : target[name])
  const kept = new Proxy(collection, { get: get as never })
  // Once it is open nothing is kept, and the collection answers faster by itself.
  const self = () => (collection.buffer === false ? collection : kept) as Doc
  for (const name of names) {
    const method: Method | undefined = collection[name]
    methods[name] = method && ((...args: unknown[]) => method.apply(self(), args))
  }
  for (const name of ['addQueue', 'removeQueue']) {
    // By its name in Mongoose 8, and by a function of its own in 9.
    methods[name] = (called: unknown, args: unknown) => collection[name](methods[called as string] ?? called, args)
  }
  return methods
}
