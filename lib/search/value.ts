import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import { lengthPrefixed } from '../format/bytes'
import { hkdf } from '../format/cipher'
import type { MakeBinary } from '../format/entry'
import { type BlindIndex, fullBits, type IndexVersion } from './declaration'

/**
 * The room of blind indexes. Comes in: a value of a field, typed and cast; goes out: its index value, the same for the same value
 * wherever it is, by which MongoDB finds it and keeps it unique, and of which nobody without the index key can tell what it is of.
 * Keeps invariant 1 of the design: what is stored beside an envelope, and sent in a filter, is a keyed hash and never the value.
 */

const infoLabel = Buffer.from('mongoose-kms-encrypted/1 blind index')

/** An index key, ready to make index values. A key of its own for each model, index and version is derived once. */
export class IndexKey {
  readonly #secret: KeyObject
  readonly #derived = new Map<string, Map<string, Map<number, KeyObject>>>()

  constructor(secret: KeyObject) {
    this.#secret = secret
  }

  /**
   * HMAC-SHA-256 of the normal form of what is indexed, under HKDF-SHA-256 of the index key for model, index and version; of that
   * the leading bits, where the index is shortened.
   *
   * @param model the name of the base model
   * @param path where the index stands: its name, below the path of the subdocument if it is one's
   * @param values those of the indexed fields, in order
   */
  valueOf(model: string, path: string, version: IndexVersion, values: readonly unknown[]): Buffer {
    const normal = version.normalForm(values)
    return shortened(
      createHmac('sha256', this.#keyFor(model, path, version))
        .update(normal)
        .digest(),
      version.bits,
    )
  }

  #keyFor(model: string, path: string, { number }: IndexVersion): KeyObject {
    const versions = within(within(this.#derived, model), path)
    const known = versions.get(number)
    if (known) return known
    const info = lengthPrefixed([infoLabel, ...[model, path, String(number)].map((part) => Buffer.from(part))])
    const bytes = hkdf(this.#secret, new Uint8Array(0), info, 32)
    const key = createSecretKey(bytes)
    bytes.fill(0)
    versions.set(number, key)
    return key
  }
}

function within<K, V>(maps: Map<string, Map<K, V>>, name: string): Map<K, V> {
  let known = maps.get(name)
  if (!known) {
    known = new Map()
    maps.set(name, known)
  }
  return known
}

/** The index keys of one use of the plugin: each version of an index may have one of its own. */
export class IndexKeys {
  readonly #keyFor: (version: number) => IndexKey

  constructor(keyFor: (version: number) => IndexKey) {
    this.#keyFor = keyFor
  }

  /** The index values of all live versions, the newest first. */
  valuesOf(model: string, path: string, { versions }: BlindIndex, values: readonly unknown[]): Buffer[] {
    return versions.map((version) => this.#keyFor(version.number).valueOf(model, path, version, values))
  }
}

/**
 * What is stored of index values: one as it is; those of several live versions side by side, and MongoDB finds the record by either.
 *
 * @param values as {@link IndexKeys.valuesOf} gives them
 */
export function encodeIndexValues(index: BlindIndex, values: readonly Uint8Array[], binary: MakeBinary): unknown {
  const [newest, ...others] = values.map((_value, position) => encodeIndexValue(index, values, position, binary))
  return others.length === 0 ? newest : [newest, ...others]
}

/** The same of one version alone, by its position among the live ones. */
export function encodeIndexValue(
  { versions }: BlindIndex,
  values: readonly Uint8Array[],
  position: number,
  binary: MakeBinary,
): unknown {
  return binary(values[position] as Uint8Array, versions[position]?.subtype)
}

/** The leading bits of a value; what is left of the last byte is zero. */
function shortened(value: Buffer, bits: number): Buffer {
  if (bits === fullBits) return value
  const short = Buffer.from(value.subarray(0, Math.ceil(bits / 8)))
  const last = short.length - 1
  short[last] = (short[last] as number) & (0xff << (short.length * 8 - bits))
  return short
}
