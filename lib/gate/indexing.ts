import { OperationError } from '../errors'
import type { KeyReference } from '../format/datakey'
import { envelopeOf, parseReference } from '../format/envelope'
import type { Plain } from '../mongoose/host'
import { noValue, valueAt } from '../mongoose/plain'
import { decryptFor } from '../record/opening'
import { allInOrder } from '../record/outcomes'
import { indexValuesFor, isErased, type Writers } from '../record/sealing'
import type { BlindIndex } from '../search/declaration'
import { encodeIndexValues } from '../search/value'
import type { Slot } from './scan'
import type { Aimed } from './targets'

/**
 * Makes the index values of the records that a write reaches. Comes in: the slots of the write; goes out: index values beside the envelopes.
 * An index over several fields needs them all: those that the write does not bring are opened as they are stored, and the write is
 * made only while they are stay so.
 */

/** An index of one record, with what its values are made of. */
export interface Indexing {
  /** A slot of the record: the index values come to stand beside its envelope. */
  readonly beside: Aimed
  readonly index: BlindIndex
  /** What each field is, in order; `undefined` where one is not there, so that there is no index value. */
  readonly parts: readonly (Part | undefined)[]
  /** What must be stored still when the write is made. */
  readonly conditions: Plain
}

/** A field of an index: as it is written, or as it is stored. */
interface Part {
  /** Its value, in the turn in which it is sealed. */
  readonly value: () => unknown
}

/** The indexes of slots by what they are of: slots of one record or subdocument stand in one object, or below one path. */
function* indexesOf<S extends { readonly slot: Slot }>(
  slots: readonly S[],
): Generator<{ readonly index: BlindIndex; readonly given: ReadonlyMap<string, S>; readonly beside: S }> {
  const records = new Map<unknown, Map<string, S>>()
  for (const each of slots) {
    const { slot } = each
    const record = slot.isWhole ? slot.holder : slot.path.slice(0, -1).join('.')
    const given = records.get(record) ?? new Map<string, S>()
    records.set(record, given.set(slot.box.field.name, each))
  }
  for (const given of records.values()) {
    for (const index of new Set([...given.values()].flatMap(({ slot }) => slot.box.use.indexes))) {
      const beside = index.fields.map((name) => given.get(name)).find((each) => each !== undefined)
      if (beside && !beside.slot.cleared.has(pathOf(beside.slot, index))) yield { index, given, beside }
    }
  }
}

/** The paths of stored fields that the index values of a write are made of, besides those that it writes. */
export function partsLackedBy(slots: readonly Slot[]): string[] {
  // Of most records, nothing is indexed.
  if (slots.every(({ box }) => box.use.indexes.length === 0)) return []
  return [...indexesOf(slots.map((slot) => ({ slot })))].flatMap(({ index, given, beside: { slot } }) =>
    slot.isWhole
      ? []
      : index.fields.filter((name) => !given.has(name)).map((name) => [...slot.names.slice(0, -1), name].join('.')),
  )
}

/** The references of the data keys of those fields, as they are stored. */
export function referencesOf(aimed: readonly Aimed[]): { readonly reference: KeyReference; readonly aimed: Aimed }[] {
  return [...indexesOf(aimed)].flatMap(({ index, given, beside }) =>
    beside.slot.isWhole
      ? []
      : index.fields
          .filter((name) => !given.has(name))
          .flatMap((name) => envelopeOf(storedAt(beside, name)) ?? [])
          .map((envelope) => ({ reference: parseReference(envelope, beside.slot.path.join('.')), aimed: beside })),
  )
}

/**
 * Opens what index values are made of and the write does not bring.
 *
 * @throws {KeyProviderError} when the KMS refuses; {DecryptionError} when what is stored does not verify
 */
export function beginIndexing(aimed: readonly Aimed[]): Promise<Indexing[]> {
  const begun = Array.from(indexesOf(aimed), async ({ index, given, beside }): Promise<Indexing> => {
    const conditions: Plain = {}
    const parts = await allInOrder(
      index.fields.map(async (name): Promise<Part | undefined> => {
        const own = given.get(name)
        if (own) return isErased(own) ? undefined : { value: () => own.box.stored() }
        if (beside.slot.isWhole) return undefined
        const stored = storedAt(beside, name)
        conditions[siblingOf(beside.slot, name)] = stored ?? noValue
        // Of what is in the clear there is an index value when that is encrypted, and not before: it may be changed by whoever knows of none.
        const isClear = beside.box.use.migrating && !envelopeOf(stored)
        return isClear || (stored ?? null) === null ? undefined : openStored(beside, name, stored)
      }),
    )
    return { beside, index, parts, conditions }
  })
  return allInOrder(begun)
}

/** Puts the index values in. Takes no turn of the event loop, as sealing does not. */
export function putIndexValues(indexings: readonly Indexing[], writers: Writers): void {
  for (const { beside, index, parts } of indexings) {
    if (!parts.every((part) => part !== undefined)) continue
    const { slot, box } = beside
    const values = indexValuesFor(
      beside,
      writers,
      index,
      slot.names
        .slice(0, -1)
        .map((name) => `${name}.`)
        .join(''),
      parts.map(({ value }) => value()),
    )
    slot.holder[pathOf(slot, index)] = encodeIndexValues(index, values, box.field.host.binary)
  }
}

async function openStored(beside: Aimed, name: string, stored: unknown): Promise<Part | undefined> {
  const { target, box, slot } = beside
  const place = siblingOf(slot, name)
  const envelope = envelopeOf(stored)
  if (!envelope) {
    throw new OperationError(
      'WRITE_REFUSED',
      `${place}: what is stored there is not encrypted, and a blind index of the record is made of it, too. Set it anew with the other fields.`,
    )
  }
  const reference = parseReference(envelope, place)
  // What was erased is not found by it any more, and keeps nothing else from being written.
  if (target.ring.isErased(reference)) return undefined
  const key = await target.ring.open(reference, [name])
  const value = box.field.host.deserialize(decryptFor(target, name, envelope, key, place)).v
  return { value: () => value }
}

function storedAt({ slot, stored }: Aimed, name: string): unknown {
  if (stored === undefined) throw new Error(`${name} was to be read before its index value is made`)
  return valueAt(stored, [...slot.path.slice(0, -1), name])
}

/** The key of the index values of a slot's record, in what holds the slot. */
function pathOf(slot: Slot, { path }: BlindIndex): string {
  return slot.isWhole ? path : siblingOf(slot, path)
}

/** The path of what stands beside a slot. */
function siblingOf({ path }: Slot, name: string): string {
  return [...path.slice(0, -1), name].join('.')
}
