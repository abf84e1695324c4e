import { array, type Code, code, statements } from '../code'
import type { Draw } from '../draw'

export type Drawn = (draw: Draw) => Code

const saveOptions = (draw: Draw) =>
  draw.options([
    ['validateBeforeSave', 'false', 0.15],
    ['validateModifiedOnly', 'true', 0.1],
    ['timestamps', 'false', 0.1],
    ['w', '1', 0.1],
  ])

const insertOptions = (draw: Draw) =>
  draw.options([
    ['ordered', 'false', 0.3],
    ['rawResult', 'true', 0.15],
    ['limit', '2', 0.1],
  ])

/** Ways to make records. */
export const creating: Readonly<Record<string, Drawn>> = {
  create: (draw) => code`return hold(await ${draw.model()}.create(${draw.body()}))`,
  'create of several': (draw) =>
    code`return (await ${draw.model()}.create(${array([draw.body(), draw.body()])}, { ordered: true })).length`,
  'new, save': (draw) => {
    const changes = draw.random.chance(0.3) ? [change(draw, 'made')] : []
    return statements([
      code`const made = new ${draw.model()}(${draw.body()})`,
      ...changes,
      code`await made.save(${saveOptions(draw)})`,
      'hold(made)',
    ])
  },
  new: (draw) => code`hold(new ${draw.model()}(${draw.body()}))`,
  'new, loosely': (draw) => code`hold(new ${draw.model()}(${draw.body()}, undefined, { strict: false }))`,
  insertMany: (draw) =>
    code`return written(await ${draw.model()}.insertMany(${array(draw.times(3, () => draw.body()))}, ${insertOptions(draw)}))`,
  // Mongoose casts nothing here, this library does: values that are not valid are stored otherwise.
  'insertMany, lean': (draw) =>
    code`return written(await ${draw.model()}.insertMany(${array(draw.times(3, () => draw.body({ oddity: 0 })))}, { ...${insertOptions(draw)}, lean: true }))`,
  'insertMany of documents': (draw) => {
    const made = draw.random.pick<Code>([
      code`new Model(${draw.body()})`,
      'doc(1)',
      code`({ ...doc(1)?._doc, _id: id(${String(draw.newRecord())}) })`,
    ])
    return code`return written(await Model.insertMany(${array([made, draw.body()])}, ${insertOptions(draw)}))`
  },
  insertOne: (draw) => code`return hold(await ${draw.model()}.insertOne(${draw.body()}, ${saveOptions(draw)}))`,
  // Without its counts: a locked field is written where a hook sets the value that it has.
  bulkSave: (draw) => code`await Model.bulkSave([doc(0), doc(1), new Model(${draw.body()})])`,
}

/** A statement that changes a document, without saving it. */
export function change(draw: Draw, at: string): Code {
  const field = draw.field()
  const { name, within } = field
  const kind = draw.kindOf(field)
  const holder = { '': at, contacts: `${at}.contacts?.[0]`, one: `${at}.one`, byName: `${at}.byName?.get('a')` }[within]
  const value = draw.value(field)
  const path = { '': name, contacts: `contacts.0.${name}`, one: `one.${name}`, byName: `byName.a.${name}` }[within]
  const assigned = within ? code`if (${holder}) ${holder}.${name} = ${value}` : code`${at}.${name} = ${value}`
  const simple: Code[] = [
    assigned,
    code`${at}.set('${path}', ${value})`,
    code`${at}.set({ ['${path}']: ${value} })`,
    code`${at}.set(${draw.body({ id: false })})`,
    code`${at}.$set('${path}', ${value})`,
    code`Object.assign(${at}, ${draw.body({ id: false })})`,
    code`${at}.set('${path}', undefined)`,
    code`${at}.markModified('${path}')`,
  ]
  if (within) return draw.random.pick([...simple, ...holderChanges(draw, at, within)])
  if (kind.change && draw.random.chance(0.6)) return kind.change(draw, `${at}.${name}`)
  const below = kind.below?.(draw)
  if (below && draw.random.chance(0.3)) return code`${at}.set('${name}.${below[0]}', ${below[1]})`
  return draw.random.pick(simple)
}

function holderChanges(draw: Draw, at: string, holder: string): Code[] {
  const contact = draw.contact()
  if (holder === 'one')
    return [code`${at}.one = ${contact}`, code`${at}.one = undefined`, code`${at}.set('one', ${contact})`]
  if (holder === 'byName')
    return [
      code`${at}.byName?.set('b', ${contact})`,
      code`${at}.byName = { a: ${contact} }`,
      code`${at}.byName?.delete('a')`,
    ]
  return [
    code`${at}.contacts.push(${contact})`,
    code`${at}.contacts.push(doc(1)?.contacts?.[0])`,
    code`${at}.contacts = [${contact}]`,
    code`${at}.contacts = ${at}.contacts.filter((_, index) => index > 0)`,
    code`${at}.contacts.splice(0, 1, ${contact})`,
    code`${at}.contacts.pull(${at}.contacts[0])`,
    code`${at}.contacts.sort((one, other) => String(other.label).localeCompare(String(one.label)))`,
    code`${at}.contacts[0]?.deleteOne()`,
    code`${at}.contacts[0]?.set(${contact})`,
  ]
}
