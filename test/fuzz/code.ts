/**
 * Source code as a tree, so that a failing sequence can be shrunk by taking entries out of objects and arrays and
 * statements out of steps. What is drawn is always code: a log of it is a program that a person can read and run.
 */
export type Code = string | readonly Code[] | List

/** Entries between an opening and a closing text; each of them may be left out. */
export class List {
  constructor(
    readonly open: string,
    readonly items: readonly Code[],
    readonly close: string,
    readonly separator = ', ',
  ) {}

  /** The same list with one more entry. */
  with(item: Code): List {
    return new List(this.open, [...this.items, item], this.close, this.separator)
  }
}

/** Code with code in it: code`await Model.create(${body})`. */
export function code(texts: TemplateStringsArray, ...parts: Code[]): Code {
  return texts.flatMap((text, index) => (index < parts.length ? [text, parts[index] as Code] : [text]))
}

export function object(entries: readonly (readonly [string, Code])[]): List {
  return new List(
    '{ ',
    entries.map(([name, value]) => code`${/^[\w$]+$/.test(name) ? name : JSON.stringify(name)}: ${value}`),
    ' }',
  )
}

export function array(items: readonly Code[]): List {
  return new List('[', items, ']')
}

/** Statements of one step. */
export function statements(items: readonly Code[]): List {
  return new List('', items, '', '; ')
}

export function render(given: Code): string {
  if (typeof given === 'string') return given
  if (!(given instanceof List)) return (given as readonly Code[]).map(render).join('')
  if (given.items.length === 0) return `${given.open}${given.close}`.replace(/\s+/g, '')
  return given.open + given.items.map(render).join(given.separator) + given.close
}

/** Every code that is a given one without one entry of one list, larger parts first. */
export function* smaller(given: Code): Generator<Code> {
  if (typeof given === 'string') return
  const items = given instanceof List ? given.items : (given as readonly Code[])
  const remade = (changed: readonly Code[]): Code =>
    given instanceof List ? new List(given.open, changed, given.close, given.separator) : changed
  if (given instanceof List) {
    for (let index = 0; index < items.length; index++) yield remade(items.filter((_, each) => each !== index))
  }
  for (const [index, item] of items.entries()) {
    for (const less of smaller(item)) yield remade(items.map((each, at) => (at === index ? less : each)))
  }
}
