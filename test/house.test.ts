import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'

// How lib/ is laid out, and that CONTRIBUTING.md tells it as it is.
const root = join(__dirname, '..')
const rooms = [
  'cli',
  'trail',
  'audit',
  'lifecycle',
  'gate',
  'queries',
  'record',
  'schema',
  'mongoose',
  'search',
  'kms',
  'format',
]

/** The files of a folder by their paths in it. */
function textsOf(folder: string): Map<string, string> {
  const paths = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
  return new Map(
    paths
      .filter((path) => path.endsWith('.ts'))
      .map((path) => [path.replaceAll('\\', '/'), readFileSync(join(root, folder, path), 'utf8')] as const),
  )
}

const commented = textsOf('lib')
/** The sources by their paths from lib/, without comments. */
const sources = new Map([...commented].map(([path, text]) => [path, withoutComments(text)] as const))

/** Blank in place of comments, so that lines keep their numbers, and characters their places. */
function withoutComments(text: string): string {
  const blank = (comment: string) => comment.replaceAll(/[^\n]/g, ' ')
  return text.replaceAll(/\/\*.*?\*\//gs, blank).replaceAll(/(?<=^|\s)\/\/ .*$/gm, blank)
}

/** The lines that match, as `file:line: text`. */
function linesThat(matches: (path: string, line: string) => boolean): string[] {
  return [...sources].flatMap(([path, text]) =>
    text
      .split('\n')
      .map((line, index) => ({ line, place: `lib/${path}:${index + 1}: ${line.trim()}` }))
      .filter(({ line }) => matches(path, line))
      .map(({ place }) => place),
  )
}

const contributing = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8')

describe('CONTRIBUTING.md', () => {
  /** The files and functions of a walk, from lines such as ``2. `record/staging.ts` `stage`: …``. */
  function stepsOf(heading: string): { file: string; name: string }[] {
    const section = contributing.split(/^##+ /m).find((part) => part.startsWith(`${heading}\n`)) ?? ''
    return [...section.matchAll(/^\d+\. (.*)$/gm)].flatMap(([, step]) => {
      const pairs = [...(step as string).matchAll(/`([\w/]+\.ts)` `([\w.]+)`/g)]
      if (pairs[0]?.index !== 0) throw new Error(`A step begins with its file and function, got: ${step}`)
      return pairs.map(([, file, name]) => ({ file: file as string, name: name as string }))
    })
  }

  test.each(['Save', 'Access'])('the walk "%s" names files and functions that there are', (heading) => {
    const steps = stepsOf(heading)
    expect(steps.length).toBeGreaterThan(5)
    expect(new Set(steps.map(({ file }) => dirname(file))).size).toBeGreaterThan(4)
    for (const { file, name } of steps) {
      const [owner, member] = name.includes('.') ? name.split('.') : [undefined, name]
      const text = sources.get(file) ?? ''
      const definition = new RegExp(`(\\bfunction|^ +(static |async |get )*)\\s?${member}(<[^>]*>)?\\(`, 'm')
      expect([file, name, definition.test(text)]).toEqual([file, name, true])
      if (owner) expect([file, owner, new RegExp(`class ${owner}\\b`).test(text)]).toEqual([file, owner, true])
    }
  })

  test('the map has every room, in the order of imports', () => {
    const rows = [...contributing.matchAll(/^\| `(\w+)\/` \|/gm)].map(([, room]) => room)
    expect(rows).toEqual(rooms)
    const folders = [...sources.keys()].map((path) => dirname(path)).filter((folder) => folder !== '.')
    expect([...new Set(folders)].sort()).toEqual([...rooms].sort())
  })

  test('every file of lib/ that it names is there', () => {
    const named = [...contributing.matchAll(/`((?:\w+\/)?\w+\.ts)`/g)].map(([, path]) => path as string)
    expect(named.length).toBeGreaterThan(10)
    for (const path of named) expect([path, sources.has(path)]).toEqual([path, true])
  })
})

describe('imports', () => {
  // What is used by nobody else stands above what is used by applications.
  const order = ['cli', 'index.ts', 'plugin.ts', ...rooms.slice(1), 'errors.ts']
  const rank = (path: string) => order.indexOf(path.includes('/') ? dirname(path) : path)

  /** What a file imports of lib/, types included. */
  function importsOf(path: string): string[] {
    const text = sources.get(path) as string
    const names = [...text.matchAll(/^(?:import|export|\})[^\n]*? from '(\.[^']*)'$/gm)].map(
      ([, name]) => name as string,
    )
    const inline = [...text.matchAll(/\b(?:import|require)\('(\.[^']*)'\)/g)].map(([, name]) => name as string)
    return [...names, ...inline].map((name) => `${normalize(join(dirname(path), name)).replaceAll('\\', '/')}.ts`)
  }

  test('are found', () => {
    const found = [...sources.keys()].flatMap(importsOf)
    expect(found.length).toBeGreaterThan(150)
    for (const path of found) expect([path, sources.has(path)]).toEqual([path, true])
  })

  test('point down the list of rooms', () => {
    const upward = [...sources.keys()].flatMap((path) =>
      importsOf(path)
        .filter((other) => rank(other) < rank(path) || rank(path) === -1)
        .map((other) => `lib/${path} imports lib/${other}`),
    )
    expect(upward).toEqual([])
  })

  test('never lead back to where they began', () => {
    const cycles: string[] = []
    const done = new Set<string>()
    const follow = (path: string, way: readonly string[]): void => {
      if (way.includes(path)) cycles.push([...way.slice(way.indexOf(path)), path].join(' > '))
      if (way.includes(path) || done.has(path)) return
      for (const other of importsOf(path)) follow(other, [...way, path])
      done.add(path)
    }
    for (const path of sources.keys()) follow(path, [])
    expect(cycles).toEqual([])
  })
})

describe('what is private to Mongoose', () => {
  const inRoom = [...sources].filter(([path]) => path.startsWith('mongoose/')).map(([, text]) => text)
  /** Not a member of Mongoose's, or known to all who read documents. */
  const harmless = new Set(['_id', '_bsontype'])
  /** What begins as Mongoose's private members do, and is used in lib/mongoose. */
  const marked = inRoom.flatMap((text) => text.match(/\$__\w*|(?<![\w$])_[a-z]\w*/g) ?? [])
  /** Names that tell nothing of being private: Mongoose neither documents nor declares them, or calls them internal. */
  const unmarked = [
    '$basePath',
    '$embeddedSchemaType',
    '$getAllSubdocs',
    '$immutable',
    '$immutableSetter',
    '$toObject',
    'castForQuery',
    'childSchemas',
    'defaultValue',
    'discriminatorMapping',
    'doValidate',
    'doValidateSync',
    'getDefault',
    'mongoose:built-in-middleware',
    'nested',
    'originalRequiredValue',
    'parentSchema',
    'requiredValidator',
    'singleNestedPaths',
    'strictMode',
    'subpaths',
    'transactionAsyncLocalStorage',
    'validationError',
  ]
  /** Those that nobody else may name, whether lib/mongoose uses them at present or not. */
  const others = ['$__', '$__fullPath', '_applySetters', '_castConditions', '_castNullish', '_doc']
  const names = new Set([...marked, ...unmarked, ...others].filter((name) => !harmless.has(name)))
  /** Whoever makes a schema type of its own has these. */
  const ofSchemaTypes = [
    '$immutable',
    'castForQuery',
    'defaultValue',
    'doValidate',
    'doValidateSync',
    'getDefault',
    'originalRequiredValue',
    'parentSchema',
    'requiredValidator',
  ]

  /** As a member: after a dot, in quotes, as a key, or taken out of an object; not as a word of a message. */
  function isNamed(name: string, line: string): boolean {
    const plain = name.replaceAll('$', '\\$')
    if (/^[$_]/.test(name) || /[A-Z:]/.test(name)) return new RegExp(`(?<![\\w$])${plain}(?![\\w$])`).test(line)
    return new RegExp(`(?<!\\.)\\.${plain}(?![\\w$])|'${plain}'|(?<![\\w$] )(?<![\\w$])${plain}\\??:`).test(line)
  }

  test('is known by name', () => {
    expect(new Set(marked).size).toBeGreaterThan(8)
    // A name that begins so elsewhere, and is none of this library's own parameters, belongs on the list or into lib/mongoose.
    const unknown = linesThat(
      (path, line) => !path.startsWith('mongoose/') && /\$__|\._(?!id\b|bsontype\b)[a-z]/.test(line),
    )
    expect(unknown).toEqual([])
  })

  test('is named in lib/mongoose alone', () => {
    const named = [...names].flatMap((name) =>
      linesThat((path, line) => {
        if (path.startsWith('mongoose/') || !isNamed(name, line)) return false
        // Parameters that are not used begin with an underscore as well.
        if (/^_/.test(name) && !new RegExp(`[.'\\s]${name}['\\s.]`).test(line)) return false
        return !(/^schema\/(type|kept)\.ts$/.test(path) && ofSchemaTypes.includes(name))
      }),
    )
    expect([...new Set(named)]).toEqual([])
  })

  test('stands in lib/mongoose with a comment of its own, which names it and tests that would notice its change', () => {
    const tests = new Set([...textsOf('test').keys()].map((path) => path.replace(/\.ts$/, '')))
    const isTest = (name: string) => tests.has(name.replace(/^test\//, '').replace(/\.ts$/, ''))
    const wanting: string[] = []
    let count = 0
    for (const { path, name, comment, lines } of [...sources.keys()]
      .filter((each) => each.startsWith('mongoose/'))
      .flatMap(declarationsOf)) {
      const own = [...names].filter((member) => lines.some((line) => isNamed(member, line) && !isRenamed(member, line)))
      count += own.length
      for (const member of own) if (!isNamed(member, comment)) wanting.push(`lib/${path} ${name}: ${member}`)
      const named = [...comment.matchAll(/`([\w/.-]+\.test(?:\.ts)?)`/g)].map(([, each]) => each as string)
      if (own.length > 0 && named.length === 0) wanting.push(`lib/${path} ${name}: a test`)
      for (const each of named) if (!isTest(each)) wanting.push(`lib/${path} ${name}: ${each}`)
    }
    expect(count).toBeGreaterThan(30)
    expect(wanting).toEqual([])
  })

  /** What a file declares, with the comment that stands before each. */
  function declarationsOf(path: string) {
    const [text, code] = [commented.get(path) as string, sources.get(path) as string]
    const starts = [...code.matchAll(/^(?:export )?(?:function\*?|const|class|interface|type) ([\w$]+)/gm)]
    return starts.map(({ index, 1: name }, position) => {
      const before = code.slice(0, index).trimEnd().length
      return {
        path,
        name,
        comment: text.slice(before, index).split('/**').at(-1) as string,
        lines: code.slice(index, starts[position + 1]?.index).split('\n'),
      }
    })
  }

  /** A variable that is not used has an underscore, and is no member. */
  function isRenamed(name: string, line: string): boolean {
    return line.includes(`${name.slice(1)}: ${name}`)
  }

  test('is not reached by a cast elsewhere: what casts name is declared by Mongoose, the driver or another package', () => {
    const declarations = ['mongoose/types', 'mongodb', 'bson'].flatMap((folder) => {
      const path = join(root, 'node_modules', folder)
      return readdirSync(path)
        .filter((name) => name.endsWith('.d.ts'))
        .map((name) => readFileSync(join(path, name), 'utf8'))
    })
    const declared = new Set(declarations.flatMap((text) => text.match(/[\w$]+/g) ?? []))
    // The marks of BSON values, the requests and answers of the AWS SDK, and what this library itself stores.
    const known = ['_bsontype', '_subtype', '$metadata', 'httpStatusCode', 'headers', 'commitment']
    const found = [...sources]
      .filter(([path]) => !path.startsWith('mongoose/'))
      .flatMap(([path, text]) => membersOfCasts(text).map((name) => ({ path, name })))
    expect(found.length).toBeGreaterThan(30)
    const unknown = found.filter(({ name }) => !declared.has(name) && !known.includes(name))
    expect(unknown.map(({ path, name }) => `lib/${path}: ${name}`)).toEqual([])
  })

  /** The members that a text reads by casting: `(x as any).member`, and those of `x as { member: … }`. */
  function membersOfCasts(text: string): string[] {
    const accessed = [...text.matchAll(/\bas any\)(?:\?\.|\.)([\w$]+)/g)].map(([, name]) => name as string)
    const literals = [...text.matchAll(/\bas (?:unknown as )?\(?\{((?:[^{}]|\{[^{}]*\})*)\}/g)]
    const members = literals.flatMap(([, body]) => [...(body as string).matchAll(/([\w$]+)\??(?:\(|:)/g)])
    // As a string, in place of a name: `{ 'email': … }` is a message's example.
    return [...accessed, ...members.map(([, name]) => name as string)].filter((name) => /^[A-Za-z_$]/.test(name))
  }
})

test('what is added to types of Mongoose stands in a file that the declarations of the index lead to', () => {
  const reached = new Set<string>()
  const reach = (path: string) => {
    if (reached.has(path)) return
    reached.add(path)
    // In declarations only imports of types are left, and of what is exported.
    const text = sources.get(path)!.replaceAll(/^import \{[^}]*\} from/gm, '')
    for (const [, to] of text.matchAll(/ from '(\.[^']+)'/g)) reach(`${join(dirname(path), to as string)}.ts`)
  }
  reach('index.ts')
  const adding = [...sources].filter(([, text]) => /^declare module /m.test(text)).map(([path]) => path)
  expect(adding).not.toEqual([])
  expect(adding.filter((path) => !reached.has(path))).toEqual([])
})

test('nothing is written to the console', () => {
  expect(linesThat((_path, line) => /\bconsole\b/.test(line))).toEqual([])
})

test('no module keeps a variable that changes, but for what is made once', () => {
  const once = [
    // The secret of localKms and the provider for all schemas that name none: one for the life of the process.
    /^lib\/kms\/local\.ts:\d+: let processSecret: Buffer \| undefined$/,
    /^lib\/schema\/use\.ts:\d+: let defaultProvider: KeyProvider \| undefined$/,
  ]
  const found = linesThat((_path, line) => /^(export )?(let|var)\b/.test(line))
  expect(found.filter((place) => !once.some((known) => known.test(place)))).toEqual([])
  for (const name of ['processSecret', 'defaultProvider']) {
    expect(linesThat((_path, line) => new RegExp(`\\b${name}\\s*(\\?\\?)?=[^=]`).test(line))).toEqual([
      expect.stringContaining(`${name} ??= `),
    ])
  }
})

describe('no module keeps a flag that one call leaves for another', () => {
  const changes = 'add|set|delete|clear|push|pop|shift|unshift|splice|sort|reverse|fill|copyWithin'

  /** Whether a line changes something of this name. */
  function writesTo(name: string): (line: string) => boolean {
    const member = `(?<![\\w$.])${name}((\\.[\\w$]+|\\[[^\\]]*\\])+)`
    const writes = [
      `(?<![\\w$.])${name}\\.(${changes})\\(`,
      `${member}\\s*(\\?\\?|\\|\\||&&|[-+*/|&^%])?=(?![=>])`,
      `${member}(\\+\\+|--)|(\\+\\+|--)${name}\\b|\\bdelete ${name}\\b`,
      `\\b(Object\\.(assign|defineProperty)|Reflect\\.\\w+)\\(${name}\\b`,
    ].map((source) => new RegExp(source))
    return (line) => line.includes(name) && writes.some((each) => each.test(line))
  }

  /** What is made once for each module. What is kept for as long as somebody else keeps its key tells of that one alone. */
  const kept = [...sources].flatMap(([path, text]) =>
    [...text.matchAll(/^(?:export )?const ([\w$]+)[^=\n]* = (?!new Weak(?:Map|Set)\b)/gm)].map(([, name]) => ({
      path,
      name: name as string,
    })),
  )

  test('in what it made when it was loaded', () => {
    expect(kept.length).toBeGreaterThan(30)
    const written = kept.flatMap(({ path, name }) => {
      const isExported = new RegExp(`^export const ${name}\\b`, 'm').test(sources.get(path) as string)
      const writes = writesTo(name)
      const places = linesThat((other, line) => (other === path || isExported) && writes(line))
      return places.map((place) => `${name} of lib/${path}: ${place}`)
    })
    expect(written).toEqual([])
  })

  test('in a static of a class, or in what all modules share', () => {
    const statics = linesThat((_path, line) =>
      /^\s+(public |private |protected )?static (?!readonly |async |get )[\w#$]+\s*(:[^=(]*)?=/.test(line),
    )
    // Mongoose asks the class of a schema type for its name.
    expect(statics.filter((place) => !/static schemaName = '\w+'$/.test(place))).toEqual([])
    expect(linesThat((_path, line) => /(?<![\w$.])[A-Z]\w*\.[\w$]+\s*(\?\?|\|\||&&)?=(?![=>])/.test(line))).toEqual([])
    const shared = linesThat((_path, line) =>
      /\bglobalThis\b|\bglobal\.|\bprocess\.(?!nextTick|emitWarning)/.test(line),
    )
    // The program alone has the process for itself.
    expect(shared.filter((place) => !place.startsWith('lib/cli/main.ts:'))).toEqual([])
  })

  test('is told by what changes it', () => {
    const changing = ['state.trusted = true', 'state.a.b ??= 1', 'state[key] += 1', 'state.count++', 'delete state.x']
    for (const line of [...changing, 'state.add(doc)', 'Object.assign(state, given)', 'if (state.delete(x)) return'])
      expect([line, writesTo('state')(line)]).toEqual([line, true])
    for (const line of ['state.has(x)', 'if (state.x === 1)', 'const y = (state) => state.x', 'other.state.x = 1'])
      expect([line, writesTo('state')(line)]).toEqual([line, false])
  })
})
