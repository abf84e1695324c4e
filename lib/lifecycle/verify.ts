import { DecryptionError } from '../errors'
import type { KeyReference } from '../format/datakey'
import { isTombstone, parseWrappedKey, referenceOf } from '../format/entry'
import { envelopeOf, parseReference } from '../format/envelope'
import { type AnyModel, type Doc, modelOf, ownerOf, type Plain, schemaOf, valuesOf } from '../mongoose/host'
import { recordOf } from '../mongoose/model'
import { callsForKeys } from '../record/calls'
import { storedOf } from '../record/fetching'
import { recordName } from '../record/identity'
import { areSameIndexValues, indexValuesOf, prefixOf } from '../record/indexes'
import { openBox, plaintextFound } from '../record/opening'
import { outcomeOf } from '../record/outcomes'
import { partsWithin, requireStored } from '../record/rewriting'
import { type KeyRing, storedReference } from '../record/ring'
import { loadedTarget } from '../record/rings'
import { encryptedPartsOf } from '../record/staging'
import type { Box } from '../schema/box'
import type { JobOptions, VerifyFailure, VerifyResult } from '../schema/jobs'
import type { Use } from '../schema/use'
import { usesOf } from '../schema/uses'
import type { BlindIndex } from '../search/declaration'
import { type Fault, failuresOf, runJob } from './job'

/**
 * Opens every record of a model, and finds what of them is not in order. Nothing is written.
 *
 * @throws {ConfigurationError} OPTION_INVALID
 */
export async function verifyKms(model: AnyModel, options?: JobOptions): Promise<VerifyResult> {
  const job = {
    model,
    name: `${model.modelName}.verifyKms()`,
    condition: {},
    begin: async () => {},
    run: async (stored: Plain) => {
      const outcome = await outcomeOf(verifyStored(model, stored))
      return outcome.status === 'fulfilled' ? outcome.value : [{ path: '', error: outcome.reason as unknown }]
    },
    calls: (stored: Plain) => callsForKeys(recordOf(model, stored)),
  }
  return (await runJob(job, options)) as VerifyResult
}

/**
 * The same of one record as it is stored now, or of a subdocument of it.
 *
 * @throws {DocumentNotFoundError} Mongoose's own, when the record is not stored
 */
export async function verifyDocument(doc: Doc): Promise<VerifyFailure[]> {
  const owner = ownerOf(doc)
  const stored = await requireStored(doc)
  const parts = partsWithin(recordOf(modelOf(owner), stored), doc)
  return failuresOf(stored._id, await verifyParts(parts, stored))
}

async function verifyStored(model: AnyModel, stored: Plain): Promise<Fault[]> {
  return verifyParts(encryptedPartsOf(recordOf(model, stored)), stored)
}

async function verifyParts(parts: readonly Doc[], stored: Plain): Promise<Fault[]> {
  const found = parts.map((part) => new Verification(part, (storedOf(part, stored) ?? {}) as Plain))
  // Before the fields, so that each data key is asked for once, and one that fails is not asked for by every field.
  const lost: Lost = new Map()
  await Promise.all(found.map((each) => each.openKeys(lost)))
  await Promise.all(found.map((each) => each.readFields(lost)))
  await Promise.all(found.map((each) => each.compareIndexes()))
  return found.flatMap(({ faults }) => faults)
}

/** The references of data keys that cannot be had. */
type Lost = Map<KeyRing, Set<KeyReference | undefined>>

/** What is found out about a record, or about a subdocument of one. */
class Verification {
  readonly faults: Fault[] = []
  readonly #part: Doc
  readonly #raw: Plain
  readonly #unread = new Set<string>()

  /** @param raw what is stored of it */
  constructor(part: Doc, raw: Plain) {
    this.#part = part
    this.#raw = raw
  }

  /** @param lost is told which */
  async openKeys(lost: Lost): Promise<void> {
    for (const use of usesOf(schemaOf(this.#part))) {
      const stored: unknown = this.#raw[use.keyPath]
      if (use.byOwner || stored === undefined || stored === null) continue
      const entries: unknown[] = Array.isArray(stored) ? stored : [stored]
      await Promise.all(
        entries.map((entry, position) =>
          this.#attempt(`${use.keyPath}.${position}`, async () => {
            if (isTombstone(entry)) return
            const { ring } = loadedTarget(this.#part, use)
            try {
              await ring.open(referenceOf(parseWrappedKey(entry, ring.identity.name).commitment), [])
            } catch (error) {
              lost.set(ring, (lost.get(ring) ?? new Set()).add(storedReference(entry)))
              throw error
            }
          }),
        ),
      )
    }
  }

  /** Of a field whose data key cannot be had, the key was told of. */
  async readFields(lost: Lost): Promise<void> {
    for (const [name, use] of this.#fields()) {
      await this.#attempt(name, async () => {
        const place = `${recordName(this.#part)} ${name}`
        const envelope = envelopeOf(this.#raw[name])
        if (!envelope) throw plaintextFound(place)
        const reference = parseReference(envelope, place)
        if (lost.get(loadedTarget(this.#part, use).ring)?.has(reference)) this.#unread.add(name)
        else await openBox(valuesOf(this.#part)[name] as Box)
      })
    }
  }

  async compareIndexes(): Promise<void> {
    for (const use of usesOf(schemaOf(this.#part)))
      for (const index of use.indexes) await this.#attempt(index.path, () => this.#compare(use, index))
  }

  async #compare(use: Use, index: BlindIndex): Promise<void> {
    if (index.fields.some((name) => this.#unread.has(name))) return
    const expected = await indexValuesOf(this.#part, use, index, this.#raw)
    const stored: unknown = this.#raw[index.path]
    if (expected === undefined ? stored === undefined : areSameIndexValues(expected, stored)) return
    throw new DecryptionError(
      'BLIND_INDEX_STALE',
      `${recordName(this.#part)}: the index values of ${index.name} are not those of its value. Where they were never made, run ` +
        'backfillBlindIndexes(), or else rotate the data key of the record, which makes them anew.',
    )
  }

  /** The fields that have a value. */
  #fields(): [string, Use][] {
    return usesOf(schemaOf(this.#part)).flatMap((use) =>
      [...use.fields.keys()]
        .filter((name) => (this.#raw[name] ?? null) !== null)
        .map((name): [string, Use] => [name, use]),
    )
  }

  async #attempt(path: string, act: () => Promise<void>): Promise<void> {
    const outcome = await outcomeOf(act())
    if (outcome.status === 'fulfilled') return
    this.#unread.add(path)
    const error: unknown = outcome.reason
    // What was erased is as it should be.
    if (error instanceof DecryptionError && error.code === 'ERASED') return
    this.faults.push({ path: `${prefixOf(this.#part)}${path}`, error })
  }
}
