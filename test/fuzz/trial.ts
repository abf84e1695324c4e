import { render } from './code'
import { difference, Forms } from './forms'
import { forgetUsed, markStale } from './held'
import type { Lab } from './lab'
import { Found, isSkip, type Outcome, outcomeOf, Parted } from './outcome'
import { plainly } from './plainly'
import { describeChange, resultOf, same, sorted } from './results'
import type { Needles } from './secrets'
import { hashesOf, needlesFor } from './sent'
import { definitionOf, type Sequence, sourceOf } from './sequence'
import { shownBy } from './shown'
import { openedLeans, openedRecords, type Way, ways } from './state'
import { maxHeld, Subject } from './subject'
import type { Tally } from './tally'
import {
  isWrongRefusal,
  leavesDocument,
  mayBePartial,
  mayThrow,
  nameOf,
  refusalOf,
  saysTheSame,
  uncast,
} from './verdict'

/** One sequence on two twins: every step is done to both, and then everything is compared. */
export class Trial {
  readonly #lab: Lab
  readonly #tally: Tally
  readonly #sequence: Sequence
  readonly #source: string
  readonly #forms: Forms
  readonly #needles: Needles
  readonly #hashes: ReadonlyMap<string, string>
  readonly twin: Subject
  readonly encrypted: Subject
  #way: Way = 'decrypt'

  constructor(lab: Lab, tally: Tally, sequence: Sequence, name: string) {
    this.#lab = lab
    this.#tally = tally
    this.#sequence = sequence
    this.#source = sourceOf(sequence)
    this.#forms = new Forms(lab.mongoose, { ...sequence.shape, source: this.#source })
    this.#needles = needlesFor(sequence.secrets, this.#source)
    this.#hashes = hashesOf(this.#source)
    const shared = { mongoose: lab.mongoose, shape: sequence.shape, source: definitionOf(sequence) }
    this.twin = new Subject({ ...shared, connection: lab.plain, name: `${name}P`, encrypt: plainly })
    this.encrypted = new Subject({ ...shared, connection: lab.encrypted, name, encrypt: lab.encrypt })
  }

  async prepare(): Promise<void> {
    for (const { name } of [this.twin, this.encrypted]) await this.#lab.back.createCollection(name)
    const { isLibrary, back } = this.#lab
    if (isLibrary && this.encrypted.invariant.unique.length > 0) await this.encrypted.Model.createIndexes()
    for (const { name, invariant } of isLibrary ? [this.twin] : [this.twin, this.encrypted]) {
      for (const field of invariant.unique) {
        const partialFilterExpression = { [field]: { $type: 'string' } }
        await back.collection(name).createIndex({ [field]: 1 }, { unique: true, partialFilterExpression })
      }
    }
  }

  async discard(): Promise<void> {
    for (const { name } of [this.twin, this.encrypted]) await this.#lab.back.dropCollection(name).catch(() => {})
    for (const connection of [this.#lab.plain, this.#lab.encrypted]) connection.deleteModel(/^S\d/)
  }

  /** @throws {Found} a failure; {Parted} where nothing more can be compared */
  async step(index: number): Promise<void> {
    const { kind, source } = this.#sequence.steps[index]!
    this.#way = ways[index % ways.length] as Way
    const text = render(source)
    // As they were read after the step before.
    const before = { twin: this.twin.raws, encrypted: this.encrypted.raws }
    const held = { twin: [...this.twin.held], encrypted: [...this.encrypted.held] }
    const plain = await outcomeOf(this.twin, text)
    if (this.#lab.uncaught.length > 0) {
      this.#tally.note(`the twin alone left an error uncaught: ${nameOf(this.#lab.uncaught.pop())}`)
      throw new Parted()
    }
    const ours = await outcomeOf(this.encrypted, text)
    this.#checkUncaught()
    this.#checkSent()
    if (isSkip(plain) || isSkip(ours)) {
      this.#tally.skipped++
      if (isSkip(plain) !== isSkip(ours)) throw new Parted()
      return
    }
    const refused =
      'error' in ours
        ? (refusalOf(ours.error) ?? ('error' in plain ? undefined : this.#failThrown(ours.error)))
        : undefined
    this.#tally.count(kind, 'error' in plain ? 'both failed' : refused ? 'refused' : 'done')
    if (refused) {
      // What the twin alone came to hold must not stand where the other holds something else.
      for (const name of ['twin', 'encrypted'] as const) this[name].held.splice(0, maxHeld, ...held[name])
      await this.#afterRefusal({ kind, text }, refused, before, ours)
    } else await this.#afterDone({ kind, text }, plain, ours, before.twin)
    this.#checkShown()
    this.#checkUncaught()
  }

  async #afterDone(
    { kind, text }: { kind: string; text: string },
    plain: Outcome,
    ours: Outcome,
    before: any[],
  ): Promise<void> {
    if ('error' in plain && 'error' in ours) {
      if (!saysTheSame(plain.error, ours.error)) {
        throw new Found(
          'threw otherwise',
          `${nameOf(ours.error)}: ${ours.error?.message}\nthe twin: ${nameOf(plain.error)}: ${plain.error?.message}`,
        )
      }
      if (!leavesDocument(plain.error)) forgetUsed(this.twin, this.encrypted)
      this.#tally.note(`both threw ${nameOf(plain.error)}`)
    } else if ('error' in plain) {
      const why = mayThrow(plain.error, text, await this.#matchesNone(plain.error, 'value' in ours && ours.value))
      if (why === undefined)
        throw new Found('accepted', `the twin throws ${nameOf(plain.error)}: ${plain.error?.message}`)
      await this.#openRecords()
      this.#tally.note(`the twin alone threw ${nameOf(plain.error)}: ${why}`)
      throw new Parted()
    } else if ('value' in ours) this.#compareResults(plain.value, ours.value)
    await this.#compareRecords(kind)
    const changes = {
      before,
      after: this.twin.raws,
      forms: this.#forms,
      hasSaveHook: this.#source.includes("pre('save'"),
    }
    markStale(this.twin, this.encrypted, changes)
  }

  /** A refused step must have changed nothing; the twin is put back, and what it held is forgotten. */
  async #afterRefusal(
    { kind, text }: { kind: string; text: string },
    code: string,
    before: { twin: any[]; encrypted: any[] },
    ours: Outcome,
  ): Promise<void> {
    this.#tally.refuse(code, kind)
    const message = String('error' in ours && ours.error?.message)
    if (isWrongRefusal(code, kind, text)) throw new Found('refused', `${code}: ${message}`)
    const shown = this.#lab.isSecret && this.#needles.find(message)
    if (shown) throw new Found('shown', `the message of ${code} shows ${shown.text}: ${message}`)
    const after = await this.#read(this.encrypted)
    if (!same(before.encrypted, after)) {
      if (mayBePartial(kind, code)) {
        await this.#openRecords()
        throw new Parted()
      }
      throw new Found(
        'changed',
        `refused with ${code}, and yet the record was changed: ${describeChange(before.encrypted, after)}`,
      )
    }
    await this.#restore(before.twin)
    forgetUsed(this.twin, this.encrypted)
    await this.#compareRecords(kind)
  }

  /** Whether what the twin threw was about no record; of a bulk, about the operation that the error names. */
  async #matchesNone(error: any, value: any): Promise<boolean> {
    const operation = error.writeErrors?.[0]?.err?.op
    if (!operation?.q) return value === null || value?.matchedCount === 0
    return (await this.#lab.back.collection(this.twin.name).countDocuments(operation.q)) === 0
  }

  #failThrown(error: any): never {
    throw new Found(
      'threw',
      `${nameOf(error)}: ${error?.message}\n${String(error?.stack).split('\n').slice(1, 6).join('\n')}`,
    )
  }

  #compareResults(plain: any, ours: any): void {
    const expected = resultOf(plain, this.#forms)
    let actual: unknown
    try {
      actual = resultOf(ours, this.#forms)
    } catch (error: any) {
      throw new Found('result', `what is given back is no plain value: ${error?.message}`)
    }
    const found = difference(expected, actual)
    if (found) throw new Found('result', found.text)
  }

  async #compareRecords(kind: string): Promise<void> {
    const expected = sorted((await this.#read(this.twin)).map((raw) => this.#forms.of(raw)))
    const actual = sorted(await this.#openRecords())
    if (expected.length !== actual.length) {
      throw new Found('records', `the twin has ${expected.length} records, the encrypted model ${actual.length}`)
    }
    for (const [index, record] of expected.entries()) {
      const found = difference(record, actual[index])
      // Nor does Mongoose cast what a document of the base is given for a field of the child.
      const isUncast = uncast.has(kind) || this.twin.held.some(({ doc, used }) => used && this.#holdsForeign(doc))
      if (found && found.kind !== 'missing' && isUncast) throw new Parted()
      if (found) throw new Found('values', found.text)
    }
  }

  /** The records of the encrypted model as the library reads them. */
  async #openRecords(): Promise<unknown[]> {
    const raws = await this.#read(this.encrypted)
    if (!this.#lab.isLibrary) return raws.map((raw) => this.#forms.of(raw))
    const { shape } = this.#sequence
    const { invariant, name } = this.encrypted
    try {
      const records = await openedRecords(this.encrypted, shape, this.#forms, this.#way)
      const problems = invariant.isIdle
        ? []
        : await invariant.problems(name, raws, await openedLeans(this.encrypted, shape))
      if (problems.length > 0) throw new Found('index', problems.join('\n'))
      return records
    } catch (error: any) {
      if (error instanceof Found) throw error
      throw new Found('unreadable', `by ${this.#way}: ${error?.code ?? error?.name}: ${error?.message}`)
    }
  }

  async #read(subject: Subject): Promise<any[]> {
    subject.raws = await this.#lab.back.collection(subject.name).find({}).toArray()
    return subject.raws
  }

  async #restore(raws: any[]): Promise<void> {
    const collection = this.#lab.back.collection(this.twin.name)
    await collection.deleteMany({})
    if (raws.length > 0) await collection.insertMany(raws)
  }

  #checkUncaught(): void {
    const [error] = this.#lab.uncaught.splice(0) as any[]
    if (error) throw new Found('uncaught', `${nameOf(error)}: ${error?.message}\n${error?.stack}`)
  }

  #checkSent(): void {
    const leaks = this.#lab.listener.leaks({ ...this.#sequence, needles: this.#needles, hashes: this.#hashes })
    if (this.#lab.isSecret && leaks.length > 0) throw new Found('sent', leaks.join('\n'))
  }

  /** Whether a document of the base holds a field of the child, which to its schema is something that is not declared. */
  #holdsForeign({ schema, _doc }: any): boolean {
    const { fields } = this.#sequence.shape
    return fields.some(({ name, within }) => within === '' && !schema.path(name) && _doc[name] !== undefined)
  }

  #checkShown(): void {
    if (!this.#lab.isSecret) return
    for (const { doc, used } of this.encrypted.held) {
      const found =
        used &&
        !this.#holdsForeign(doc) &&
        shownBy(doc, { needles: this.#needles, secrets: this.#sequence.secrets, raws: this.encrypted.raws })
      if (found) throw new Found('shown', found)
    }
  }
}
