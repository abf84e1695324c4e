import type { Names, Row, Section, World } from './row'

const ofAda = { name: 'Ada' }
const text = ({ text }: Names) => [text]

/** Paths as an object, so that their order does not matter. */
function flags(paths: readonly string[]): Record<string, true> {
  return Object.fromEntries(paths.map((path) => [path, true]))
}

type Project = (world: World, given: any) => any

/** What a projection loads of Ada: the paths stored, and what can be read. Others read `undefined`. */
function includes(name: string, project: Project, more: Partial<Row> = {}): Row {
  return {
    name,
    encrypted: 'honoured',
    opens: 1,
    given: text,
    run: async (world, given) => {
      const query = () => project(world, given).setOptions(world.options)
      const doc = await query()
      const values: Record<string, unknown> = {}
      for (const path of ['email', 'nickname', 'score', 'age', 'pin', 'code'])
        if ((await doc[path]) !== undefined) values[path] = await doc[path]
      return { loads: flags(Object.keys(await query().lean())), values }
    },
    gives: ({ stored, text, old }) => ({ loads: flags([...stored, '_id']), values: { [text]: old } }),
    ...more,
  }
}

/** What a projection leaves out. */
function excludes(name: string, project: Project, more: Partial<Row> = {}): Row {
  return {
    name,
    encrypted: 'honoured',
    opens: 1,
    given: text,
    run: async (world, given) => {
      const query = () => project(world, given).setOptions(world.options)
      const all = await world.User.findOne(ofAda).setOptions(world.options).lean()
      const some = await query().lean()
      const doc = await query()
      const unread: string[] = []
      for (const path of ['email', 'nickname', 'score', 'age']) if ((await doc[path]) === undefined) unread.push(path)
      return { leavesOut: flags(Object.keys(all).filter((path) => !(path in some))), unread: flags(unread) }
    },
    gives: ({ text }) => ({ leavesOut: flags([text]), unread: flags([text]) }),
    ...more,
  }
}

const find: Project = ({ User }) => User.findOne(ofAda)

export const projecting: Section = {
  title: 'Projections',
  introduction:
    'A projection of an encrypted field means what it would for any other path. What is needed to decrypt it comes along, and nothing more. A field that was not loaded reads `undefined`.',
  rows: [
    includes("select('email')", (world, paths) => find(world, 0).select(paths.join(' '))),
    includes('select({ email: 1 })', (world, projection) => find(world, 0).select(projection), {
      given: ({ text }) => ({ [text]: 1 }),
    }),
    includes('select({ email: true })', (world, projection) => find(world, 0).select(projection), {
      given: ({ text }) => ({ [text]: true }),
    }),
    includes("select(['email'])", (world, paths) => find(world, 0).select(paths)),
    includes("findOne(filter, 'email')", ({ User }, paths) => User.findOne(ofAda, paths.join(' '))),
    includes('findOne(filter, { email: 1 })', ({ User }, projection) => User.findOne(ofAda, projection), {
      given: ({ text }) => ({ [text]: 1 }),
    }),
    includes('{ projection: { email: 1 } }', ({ User }, projection) => User.findOne(ofAda, null, { projection }), {
      given: ({ text }) => ({ [text]: 1 }),
    }),
    includes(
      'findOneAndUpdate, { projection }',
      ({ User, options }, projection) => User.findOneAndUpdate(ofAda, { extra: 1 }, { ...options, projection }),
      {
        given: ({ text }) => ({ [text]: 1 }),
        after: () => ({ Ada: { extra: 1 } }),
      },
    ),
    excludes("select('-email')", (world, paths) =>
      find(world, 0).select(paths.map((path: string) => `-${path}`).join(' ')),
    ),
    excludes('select({ email: 0 })', (world, projection) => find(world, 0).select(projection), {
      given: ({ text }) => ({ [text]: 0 }),
    }),
    excludes("findOne(filter, '-email')", ({ User }, paths) =>
      User.findOne(ofAda, paths.map((path: string) => `-${path}`).join(' ')),
    ),
    includes("select('email +pin')", (world, paths) => find(world, 0).select(paths.join(' ')), {
      given: ({ text, hidden }) => [text, `+${hidden}`],
      gives: ({ stored, storedHidden, text, hidden, old }) => ({
        loads: flags([...stored, ...storedHidden, '_id']),
        values: { [text]: old, [hidden]: `${old}, once more` },
      }),
    }),
    {
      name: "select('+pin')",
      encrypted: 'honoured',
      opens: 1,
      note: 'For a field with `select: false`.',
      given: ({ hidden }) => [hidden],
      run: async (world, paths) => {
        const plus = paths.map((path: string) => `+${path}`).join(' ')
        const without = await find(world, 0).setOptions(world.options)
        const doc = await find(world, 0).select(plus).setOptions(world.options)
        const values: Record<string, unknown> = {}
        for (const path of paths) values[path] = [await without[path], await doc[path]]
        return values
      },
      gives: ({ hidden, old }) => ({ [hidden]: [undefined, `${old}, once more`] }),
    },
    {
      name: "populate('author', 'email')",
      encrypted: 'honoured',
      opens: 1,
      posts: true,
      given: text,
      run: async ({ Post, options }, paths) => {
        const { author } = await Post.findOne().setOptions(options).populate('author', paths.join(' '))
        return [await author.email, await author.nickname].filter((value) => value !== undefined)
      },
      gives: ({ old }) => [old],
    },
    {
      name: 'select({ email: { $slice: 1 } })',
      encrypted: 'QUERY_REFUSED',
      given: ({ list }) => ({ [list]: { $slice: 1 } }),
      run: async (world, projection) => (await find(world, 0).select(projection).setOptions(world.options)).labels,
      gives: ({ item }) => [item],
    },
  ],
}
