import { array, type Code, code, object } from './code'
import type { Draw } from './draw'

/** A type of field: how it is declared, what its values are, and how a value is changed in place. */
export interface Kind {
  /** The Mongoose definition, with options drawn. */
  define(draw: Draw): Code
  value(draw: Draw): Code
  /** A statement that changes the value that `at` names, such as `doc(0).tags`, in place. */
  change?(draw: Draw, at: string): Code
  /** A path below the field, and a value for it: Mongoose writes it alone, this library the whole field. */
  below?(draw: Draw): readonly [string, Code]
  /** An operator that works on such values, and its operand. */
  operate?(draw: Draw): readonly [string, Code]
}

const text = (draw: Draw) => draw.secrets.text()

/** `{ type, …options }`, each option with its probability. */
function typed(draw: Draw, type: Code, options: readonly (readonly [string, Code, number])[] = []): Code {
  const chosen = options.filter(([, , probability]) => draw.random.chance(probability))
  const always = [...chosen.map(([name, value]) => [name, value] as const)]
  if (draw.isSelectable && draw.random.chance(0.08)) always.push(['select', 'false'])
  return object([['type', type], ...always])
}

/** Field names stand for their types, so that a log needs no legend. */
export const kinds: Readonly<Record<string, Kind>> = {
  email: {
    define: (draw) =>
      typed(draw, 'String', [
        ['lowercase', 'true', 0.5],
        ['trim', 'true', 0.5],
        ['required', 'true', 0.25],
      ]),
    value: text,
    operate: (draw) => ['$min', text(draw)],
  },
  code: {
    define: (draw) => typed(draw, 'String', [['immutable', 'true', 0.7]]),
    value: text,
  },
  nick: {
    define: (draw) =>
      typed(draw, 'String', [
        ['default', draw.random.chance(0.5) ? text(draw) : code`() => ${text(draw)}`, 0.7],
        ['minlength', '3', 0.3],
      ]),
    value: text,
  },
  role: {
    define: (draw) => typed(draw, 'String', [['enum', array(draw.roles), 1]]),
    value: (draw) => draw.random.pick(draw.roles),
  },
  count: {
    define: (draw) =>
      typed(draw, 'Number', [
        ['min', '1', 0.4],
        ['default', draw.secrets.number(), 0.2],
      ]),
    value: (draw) => draw.secrets.number(),
    operate: (draw) =>
      draw.random.pick([['$inc', '1'] as const, ['$mul', '2'] as const, ['$max', draw.secrets.number()]]),
  },
  dob: {
    define: (draw) => typed(draw, 'Date'),
    value: (draw) => draw.secrets.date(),
    change: (draw, at) => code`${at}?.setTime?.(${draw.secrets.date()}.getTime()); ${marked(at)}`,
    operate: () => ['$currentDate', 'true'],
  },
  flag: { define: (draw) => typed(draw, 'Boolean'), value: (draw) => String(draw.random.chance(0.5)) },
  tags: {
    define: (draw) => typed(draw, '[String]'),
    value: (draw) => array(draw.times(3, () => text(draw))),
    change: (draw, at) =>
      draw.random.pick([
        code`${at}.push(${text(draw)})`,
        code`${at}.pull(${text(draw)})`,
        code`${at}.addToSet(${text(draw)})`,
        code`${at}.splice(0, 1, ${text(draw)})`,
        code`${at}.set(0, ${text(draw)})`,
        code`${at}.sort()`,
        code`${at}.shift()`,
        code`${at}.unshift(${text(draw)})`,
        code`${at}.pop()`,
      ]),
    below: (draw) => [draw.random.pick(['0', '1']), text(draw)],
    operate: (draw) =>
      draw.random.pick([
        ['$push', text(draw)] as const,
        ['$push', object([['$each', array([text(draw), text(draw)])]])] as const,
        ['$addToSet', text(draw)] as const,
        ['$pull', text(draw)] as const,
        ['$pullAll', array([text(draw)])] as const,
        ['$pop', '1'] as const,
      ]),
  },
  meta: {
    define: () =>
      object([
        ['type', 'Map'],
        ['of', 'String'],
      ]),
    value: (draw) =>
      draw.random.chance(0.5)
        ? object(draw.times(2, (index) => [`k${index}`, text(draw)] as const))
        : code`new Map([['k0', ${text(draw)}]])`,
    change: (draw, at) =>
      draw.random.pick([
        code`${at}?.set('k1', ${text(draw)})`,
        code`${at}?.delete('k0')`,
        code`${at}?.clear(); ${marked(at)}`,
      ]),
    below: (draw) => ['k0', text(draw)],
  },
  any: {
    define: () => object([['type', 'Schema.Types.Mixed']]),
    value: (draw) =>
      draw.random.pick([
        text(draw),
        object([
          ['a', object([['b', text(draw)]])],
          ['c', array([draw.secrets.number()])],
        ]),
        object([['$odd', text(draw)]]),
        array([text(draw), 'null', draw.secrets.date()]),
        draw.secrets.big(),
        object([['a.b', text(draw)]]),
      ]),
    change: (draw, at) => code`if (${at} && typeof ${at} === 'object') ${at}.a = ${text(draw)}; ${marked(at)}`,
    below: (draw) => ['a', text(draw)],
  },
  bytes: {
    define: (draw) => typed(draw, 'Buffer'),
    value: (draw) => code`Buffer.from(${text(draw)})`,
    change: (draw, at) => code`${at}?.write?.(${text(draw)}, 0)`,
  },
  price: { define: (draw) => typed(draw, 'Schema.Types.Decimal128'), value: (draw) => draw.secrets.decimal() },
  big: { define: (draw) => typed(draw, 'BigInt'), value: (draw) => draw.secrets.big() },
  ref: { define: (draw) => typed(draw, 'Schema.Types.ObjectId'), value: (draw) => draw.secrets.objectId() },
  address: {
    define: () =>
      object([
        ['city', 'String'],
        ['since', 'Date'],
      ]),
    value: (draw) =>
      object(draw.random.some([['city', text(draw)] as const, ['since', draw.secrets.date()] as const], 0.8)),
    change: (draw, at) => code`${at}.city = ${text(draw)}`,
    below: (draw) => draw.random.pick([['city', text(draw)] as const, ['since', draw.secrets.date()] as const]),
  },
  history: {
    define: (draw) =>
      array([
        object([
          ['at', 'Date'],
          [
            'note',
            draw.random.chance(0.5)
              ? 'String'
              : object([
                  ['type', 'String'],
                  ['required', 'true'],
                ]),
          ],
          ...(draw.random.chance(0.5) ? [['_id', 'false'] as const] : []),
        ]),
      ]),
    value: (draw) => array(draw.times(2, () => entry(draw))),
    change: (draw, at) =>
      draw.random.pick([
        code`${at}.push(${entry(draw)})`,
        code`if (${at}[0]) ${at}[0].note = ${text(draw)}`,
        code`${at}.splice(0, 1)`,
        code`${at}[0]?.set({ note: ${text(draw)} })`,
      ]),
    below: (draw) => draw.random.pick([['0.note', text(draw)] as const, ['0', entry(draw)] as const]),
    operate: (draw) =>
      draw.random.pick([['$push', entry(draw)] as const, ['$pull', object([['note', text(draw)]])] as const]),
  },
  profile: {
    define: () => 'new Schema({ bio: String, links: [String] }, { _id: false })',
    value: (draw) =>
      object([
        ['bio', text(draw)],
        ['links', array(draw.times(2, () => text(draw)))],
      ]),
    change: (draw, at) =>
      code`if (${at}) ${at}.${draw.random.pick([code`bio = ${text(draw)}`, code`links.push(${text(draw)})`])}`,
    below: (draw) => ['bio', text(draw)],
  },
  grid: {
    define: () => '[[Number]]',
    value: (draw) => array([array([draw.secrets.number(), draw.secrets.number()])]),
    change: (draw, at) => code`${at}.push([${draw.secrets.number()}])`,
  },
}

/** Mongoose does not see such changes by itself; this library does. */
function marked(at: string): Code {
  const [document, field] = at.split('.')
  return `${document}.markModified('${field}')`
}

function entry(draw: Draw): Code {
  return object([
    ['at', draw.secrets.date()],
    ['note', text(draw)],
  ])
}
