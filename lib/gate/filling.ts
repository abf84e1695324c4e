import type { KeyReference } from '../format/datakey'
import { envelopeSubtype, parseReference } from '../format/envelope'
import type { Plain } from '../mongoose/host'
import { prepare, seal } from '../record/sealing'
import { beginIndexing, putIndexValues } from './indexing'
import type { Aimed } from './targets'

/** A slot whose envelope has been put in. */
export interface Sealed extends Aimed {
  /** The reference of the data key of its envelope. */
  readonly reference: KeyReference
  /** What else must be stored in its record when it is written. */
  readonly conditions: Plain
}

/**
 * Puts the envelopes in, and the wrapped keys beside those whose record is sent whole.
 *
 * @param whole the top-level record, where all of it is sent
 */
export async function fill(aimed: readonly Aimed[], whole?: Plain): Promise<Sealed[]> {
  const isIndexed = aimed.some(({ box }) => box.use.indexed.has(box.field.name))
  const indexings = isIndexed ? await beginIndexing(aimed) : []
  const writers = await prepare(aimed)
  const sealed = aimed.map((each) => {
    const { slot, box } = each
    const envelope = seal(each, writers)
    slot.holder[slot.key] = box.field.host.binary(envelope, envelopeSubtype)
    const conditions: Plain = {}
    for (const { beside, conditions: own } of indexings) if (beside === each) Object.assign(conditions, own)
    return { ...each, reference: parseReference(envelope, () => slot.path.join('.')), conditions }
  })
  putIndexValues(indexings, writers)
  for (const { slot, box, target } of aimed) {
    if (slot.isWhole && !box.use.byOwner) slot.holder[box.use.keyPath] = target.ring.toStore()
    else if (whole && box.use.byOwner) whole[target.ring.use.keyPath] = target.ring.toStore()
  }
  return sealed
}
