import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import { ConfigurationError, OperationError } from '../errors'
import { lengthPrefixed } from '../format/bytes'
import { hkdf } from '../format/cipher'
import { bytesOf } from '../format/entry'

/**
 * The room of blind indexes. Comes in: a value of a field, typed and cast; goes out: its index value, the same for the same value
 * wherever it is, by which MongoDB finds it and keeps it unique, and of which nobody without the index key can tell what it is of.
 * Keeps invariant 1 of the design: what is stored beside an envelope, and sent in a filter, is a keyed hash and never the value.
 */

/** The option `blindIndex` of a field. */
export interface BlindIndexOptions {
  /** Whether no two records may have the same value. */
  readonly unique?: boolean
  /** Whether strings that differ in upper and lower case alone are the same value. */
  readonly caseInsensitive?: boolean
  /** Makes of a value, once it is cast, the one that is compared. */
  readonly normalize?: (value: any) => unknown
  /** The generation of key and normal form. Only 1 is supported. */
  readonly version?: 1
}

/** The blind index of one field, as the schema was built with it. */
export interface BlindIndex {
  /** Where the index values are stored. */
  readonly path: string
  readonly field: string
  readonly isUnique: boolean
  readonly version: number
  /** The bytes by which two values are the same value or are not. */
  readonly normalForm: (value: unknown) => Uint8Array
}

/** Length of an index value in bytes. */
export const indexValueLength = 32

const infoLabel = Buffer.from('mongoose-kms-encrypted/1 blind index')

/** What a value of each schema type is compared by. All of one kind have one normal form, whatever class they come in. */
const kinds: Readonly<Record<string, readonly [label: string, encode: (value: unknown) => Uint8Array | undefined]>> = {
  String: ['string', (value) => (typeof value === 'string' ? Buffer.from(value.normalize('NFC')) : undefined)],
  Number: ['number', encodeNumber],
  Double: ['number', encodeNumber],
  Int32: ['number', encodeNumber],
  Boolean: ['boolean', (value) => (typeof value === 'boolean' ? Buffer.of(Number(value)) : undefined)],
  Date: ['date', encodeDate],
  Buffer: ['bytes', bytesOf],
  UUID: ['uuid', bytesOf],
  ObjectId: ['objectId', (value) => bytesOfHex(value, 'ObjectId')],
  Decimal128: ['decimal', encodeDecimal],
  BigInt: ['bigint', (value) => (typeof value === 'bigint' ? Buffer.from(String(value)) : undefined)],
}

/**
 * Reads the options `blindIndex` and `unique` of a field.
 *
 * @param instance the name of the field's schema type
 * @throws {ConfigurationError} FIELD_INVALID when there can be no such index
 */
export function compileIndex(
  field: string,
  instance: string,
  option: unknown,
  isUnique: unknown,
): BlindIndex | undefined {
  if (isUnique !== undefined && typeof isUnique !== 'boolean')
    throw invalid(field, 'unique must be true or false. A message of its own is not supported.')
  if (option === false && isUnique) throw invalid(field, 'unique needs a blind index. Remove blindIndex: false.')
  if ((option === undefined || option === false) && !isUnique) return undefined
  const options = checkOptions(field, option)
  const { caseInsensitive = false, normalize } = options
  const kind = Object.hasOwn(kinds, instance) ? kinds[instance] : undefined
  if (!kind) {
    throw invalid(
      field,
      `a value of the type ${instance} has parts, and only one that is whole can have a blind index. Index a field of its own.`,
    )
  }
  if (caseInsensitive && kind[0] !== 'string') throw invalid(field, 'caseInsensitive has a meaning for strings alone.')
  const [name, encode] = kind
  const label = Buffer.from(name)
  return Object.freeze({
    path: `${field}_bidx`,
    field,
    isUnique: isUnique === true || options.unique === true,
    version: 1,
    normalForm: (value: unknown) => {
      const own = normalize ? normalized(field, normalize, value) : value
      const bytes = encode(caseInsensitive && typeof own === 'string' ? folded(own) : own)
      if (bytes) return lengthPrefixed([label, bytes])
      throw new OperationError(
        'WRITE_REFUSED',
        `${field}: ${normalize ? 'its normalize gave' : 'it was given'} ${typeof own}, which is no ${instance} to make an index value of.`,
      )
    },
  })
}

function normalized(field: string, normalize: (value: any) => unknown, value: unknown): unknown {
  try {
    return normalize(value)
  } catch {
    throw new OperationError(
      'WRITE_REFUSED',
      `${field}: its normalize threw an error, so there is no index value to store or to ask for. What it says is left out, for it may hold the value.`,
    )
  }
}

function checkOptions(field: string, option: unknown): BlindIndexOptions {
  if (option === undefined || option === true) return {}
  if (typeof option !== 'object' || option === null || Array.isArray(option))
    throw invalid(field, 'blindIndex must be true, or options such as { unique: true }.')
  const { unique, caseInsensitive, normalize, version, ...others } = option as BlindIndexOptions
  for (const [name, value] of Object.entries({ unique, caseInsensitive })) {
    if (value !== undefined && typeof value !== 'boolean')
      throw invalid(field, `blindIndex.${name} must be true or false.`)
  }
  if (normalize !== undefined && typeof normalize !== 'function')
    throw invalid(field, 'blindIndex.normalize must be a function of the value.')
  if (version !== undefined && version !== 1) throw invalid(field, 'blindIndex.version: only 1 is supported yet.')
  if ('bits' in others) throw invalid(field, 'blindIndex.bits is not supported yet.')
  const [unknown] = Object.keys(others)
  if (unknown === undefined) return option
  throw invalid(field, `blindIndex has no option ${unknown}. Use one of unique, caseInsensitive, normalize, version.`)
}

/** An index key, ready to make index values. A key of its own for each model, field and version is derived once. */
export class IndexKey {
  readonly #secret: KeyObject
  readonly #derived = new WeakMap<BlindIndex, Map<string, KeyObject>>()

  constructor(secret: KeyObject) {
    this.#secret = secret
  }

  /**
   * HMAC-SHA-256 of the normal form of a value, under HKDF-SHA-256 of the index key for model, field and version.
   *
   * @param model the name of the base model
   */
  valueOf(model: string, index: BlindIndex, value: unknown): Buffer {
    return createHmac('sha256', this.#keyFor(model, index)).update(index.normalForm(value)).digest()
  }

  #keyFor(model: string, index: BlindIndex): KeyObject {
    const byModel = this.#derived.get(index) ?? new Map<string, KeyObject>()
    this.#derived.set(index, byModel)
    const known = byModel.get(model)
    if (known) return known
    const parts = [model, index.field, String(index.version)]
    const info = lengthPrefixed([infoLabel, ...parts.map((part) => Buffer.from(part))])
    const bytes = hkdf(this.#secret, new Uint8Array(0), info, 32)
    const key = createSecretKey(bytes)
    bytes.fill(0)
    byModel.set(model, key)
    return key
  }
}

/** Upper case first: several lower-case letters have one upper case, such as both forms of sigma, and ß has none but SS. */
function folded(text: string): string {
  return text.normalize('NFC').toUpperCase().toLowerCase()
}

function encodeNumber(value: unknown): Uint8Array | undefined {
  const number = isOf(value, 'Double') || isOf(value, 'Int32') ? Number(value) : value
  if (typeof number !== 'number') return undefined
  const bytes = Buffer.alloc(8)
  // There is one zero, and one that is no number.
  bytes.writeDoubleBE(Number.isNaN(number) ? Number.NaN : number + 0)
  return bytes
}

function encodeDate(value: unknown): Uint8Array | undefined {
  if (!(value instanceof Date) || Number.isNaN(value.getTime())) return undefined
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(BigInt(value.getTime()))
  return bytes
}

function bytesOfHex(value: unknown, type: string): Uint8Array | undefined {
  return isOf(value, type) ? Buffer.from(String(value), 'hex') : undefined
}

/** The digits without zeros at either end, and the exponent: `1.0` and `1.00` are one number. */
function encodeDecimal(value: unknown): Uint8Array | undefined {
  if (!isOf(value, 'Decimal128')) return undefined
  const text = String(value)
  const [, sign, whole = '', fraction = '', exponent = '0'] = /^(-?)(\d*)\.?(\d*)(?:E([+-]?\d+))?$/.exec(text) ?? []
  if (sign === undefined) return Buffer.from(text)
  const digits = `${whole}${fraction}`.replace(/^0+/, '')
  const significant = digits.replace(/0+$/, '')
  if (significant === '') return Buffer.from('0')
  const power = Number(exponent) - fraction.length + digits.length - significant.length
  return Buffer.from(`${sign}${significant}E${power}`)
}

function isOf(value: unknown, type: string): boolean {
  return (value as { _bsontype?: unknown } | null)?._bsontype === type
}

function invalid(field: string, message: string): ConfigurationError {
  return new ConfigurationError('FIELD_INVALID', `kmsEncrypted: fields.${field}: ${message}`)
}
