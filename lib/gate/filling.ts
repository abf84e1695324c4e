import type { KeyReference } from '../format/datakey'
import { encodeEnvelope, parseReference } from '../format/envelope'
import type { Plain } from '../mongoose/host'
import { prepare, seal, type Writers } from '../record/sealing'
import { beginIndexing, type Indexing, putIndexValues } from './indexing'
import type { Aimed } from './targets'

/** A slot whose envelope has been put in. */
export interface Sealed extends Aimed {
  /** The reference of the data key of its envelope. */
  readonly reference: KeyReference
  /** What else must be stored in its record when it is written. */
  readonly conditions: Plain
}

/**
 * Puts the envelopes in, and the wrapped keys beside those whose record is sent whole: at once, unless something has to be opened or
 * generated first.
 *
 * @param whole the top-level record, where all of it is sent
 */
export function fill(aimed: readonly Aimed[], whole?: Plain): Sealed[] | Promise<Sealed[]> {
  if (aimed.some(({ box }) => box.use.indexed.has(box.field.name))) return fillIndexed(aimed, whole)
  const ready = prepare(aimed)
  if (ready instanceof Promise) return ready.then((writers) => put(aimed, writers, [], whole))
  return put(aimed, ready, [], whole)
}

async function fillIndexed(aimed: readonly Aimed[], whole: Plain | undefined): Promise<Sealed[]> {
  const indexings = await beginIndexing(aimed)
  return put(aimed, await prepare(aimed), indexings, whole)
}

function put(
  aimed: readonly Aimed[],
  writers: Writers,
  indexings: readonly Indexing[],
  whole: Plain | undefined,
): Sealed[] {
  const sealed = aimed.map((each) => {
    const { slot, box, target, isBound, prefix, stored } = each
    const envelope = seal(each, writers)
    slot.holder[slot.key] = encodeEnvelope(envelope, box.field.host.binary)
    const conditions: Plain = {}
    for (const { beside, conditions: own } of indexings) if (beside === each) Object.assign(conditions, own)
    const reference = parseReference(envelope, () => slot.path.join('.'))
    return { slot, box, target, isBound, prefix, stored, reference, conditions }
  })
  putIndexValues(indexings, writers)
  for (const { slot, box, target } of aimed) {
    if (slot.isWhole && !box.use.byOwner) slot.holder[box.use.keyPath] = target.ring.toStore()
    else if (whole && box.use.byOwner) whole[target.ring.use.keyPath] = target.ring.toStore()
  }
  return sealed
}
