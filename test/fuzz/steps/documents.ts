import { type Code, code, object, statements } from '../code'
import type { Draw } from '../draw'
import { change, type Drawn } from './creating'
import { update } from './updating'

const which = (draw: Draw) => `doc(${draw.random.below(3)})`

/** A held document, current and open: in-place changes of a stale one merge on the twin and replace here. */
const opened = (draw: Draw) => `const it = await fresh(${draw.random.below(3)})`

const saveOptions = (draw: Draw) =>
  draw.options([
    ['validateBeforeSave', 'false', 0.1],
    ['validateModifiedOnly', 'true', 0.1],
  ])

const changes = (draw: Draw, at: string): Code[] => [change(draw, at), ...draw.times(2, () => change(draw, at))]

/** Calls of documents that are at hand. */
export const documents: Readonly<Record<string, Drawn>> = {
  change: (draw) => statements([opened(draw), ...changes(draw, 'it')]),
  'change, save': (draw) =>
    statements([opened(draw), ...changes(draw, 'it'), code`await it.save(${saveOptions(draw)})`]),
  // Of a document that may be stale: values like no other, for Mongoose takes an equal one for no change.
  'set, save': (draw) => {
    const fields = draw.own().filter(({ kind }) => /^(email|code|nick|count|dob|big|price|ref|bytes)$/.test(kind))
    const entries = draw.random.some(fields, 0.6).map((field) => [field.name, draw.kindOf(field).value(draw)] as const)
    return statements([
      `const it = ${which(draw)}`,
      code`it.set(${object([...entries, ['name', "'changed'"]])})`,
      code`await it.save(${saveOptions(draw)})`,
    ])
  },
  'change beside, save': (draw) =>
    statements([`const it = ${which(draw)}`, "it.name = 'aside'", 'it.list?.push("more")', 'await it.save()']),
  save: (draw) => code`await ${which(draw)}.save(${saveOptions(draw)})`,
  overwrite: (draw) => statements([opened(draw), code`it.overwrite(${draw.body({ id: false })})`, 'await it.save()']),
  '$inc, save': (draw) => {
    const counted = draw.own().find(({ kind }) => kind === 'count')
    // Mongoose adds again, with the next call, what has been saved already.
    return statements([opened(draw), `it.$inc('${counted?.name ?? 'hits'}', 2)`, 'await it.save()', 'drop(it)'])
  },
  // A pipeline there ends the process on Mongoose 8, whoever's document it is.
  'document.updateOne': (draw) => code`return written(await ${which(draw)}.updateOne(${update(draw, false)}))`,
  'document.replaceOne': (draw) => code`return written(await ${which(draw)}.replaceOne(${draw.body({ id: false })}))`,
  'document.deleteOne': (draw) => code`await ${which(draw)}.deleteOne()`,
  $clone: (draw) => code`hold(${which(draw)}.$clone())`,
  'new from another': (draw) => {
    const from = which(draw)
    const source = draw.random.pick([
      from,
      `${from}.toObject()`,
      `{ ...${from}._doc }`,
      `JSON.parse(JSON.stringify(${from}))`,
    ])
    return statements([
      `await open(${from})`,
      `const copy = new Model(${source})`,
      `copy._id = id(${draw.record()})`,
      'copy.isNew = true',
      ...(source.includes('JSON') || source.includes('toObject') ? [] : ['await copy.save()']),
    ])
  },
  'set from another': (draw) => {
    const { name, within } = draw.field()
    const path = within || name
    return statements([
      opened(draw),
      `const other = ${which(draw)}`,
      'await open(other)',
      `it.set('${path}', other.get('${path}'))`,
      'await it.save()',
    ])
  },
  validate: (draw) =>
    statements([
      `const it = ${which(draw)}`,
      draw.random.pick([
        'await it.validate()',
        'return it.validateSync()?.name',
        `await it.validate(['${draw.field().name}'])`,
      ]),
    ]),
  'Model.validate': (draw) => code`await Model.validate(${draw.body()})`,
  'Model.castObject': (draw) => code`return { cast: await plain(Model.castObject(${draw.body({ oddity: 0.03 })})) }`,
  'Model.applyDefaults': (draw) => code`return { given: Model.applyDefaults({ n: ${String(draw.record())} }) }`,
  'Model.useConnection': () => 'Model.useConnection(other())',
  show: (draw) => code`shown(${which(draw)})`,
  ask: (draw) => {
    const { name } = draw.field()
    return code`const it = ${which(draw)}; return [it.isModified('${name}'), it.isNew, it.isSelected('${name}'), it.$isDefault('name')]`
  },
  decrypt: (draw) => code`await open(${which(draw)})`,
  rotateKmsKey: (draw) => code`await rotate(${which(draw)})`,
  'rotateKmsKey beside save': (draw) =>
    statements([opened(draw), change(draw, 'it'), 'await settled([it.save(), rotate(it)])']),
  // Index values are as they should be: there is nothing to make.
  backfillBlindIndexes: (draw) =>
    draw.shape.indexes.length === 0
      ? documents.reload!(draw)
      : code`return { made: (await Model.backfillBlindIndexes?.())?.updated ?? 0 }`,
  reload: (draw) => code`const it = ${which(draw)}; return hold(await Model.findById(it._id))`,
  'unmark, save': (draw) =>
    statements([opened(draw), change(draw, 'it'), `it.unmarkModified('${draw.field().name}')`, 'drop(it)']),
  $ignore: (draw) =>
    statements([opened(draw), `it.$ignore('${draw.field().name}')`, change(draw, 'it'), 'await it.save()']),
}
