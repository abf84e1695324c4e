import { bytesOf } from '../format/entry'

/** What values of one schema type are compared by. All of one kind have one normal form, whatever class they come in. */
export interface Kind {
  readonly label: string
  /** Bytes, or a text that stands for them as UTF-8; `undefined` for a value that is of another type. */
  readonly encode: (value: unknown) => Uint8Array | string | undefined
}

const kinds: Readonly<Record<string, Kind>> = {
  String: {
    label: 'string',
    encode: (value) => (typeof value === 'string' ? value.normalize('NFC') : undefined),
  },
  Number: { label: 'number', encode: encodeNumber },
  Double: { label: 'number', encode: encodeNumber },
  Int32: { label: 'number', encode: encodeNumber },
  Boolean: {
    label: 'boolean',
    encode: (value) => (typeof value === 'boolean' ? Buffer.of(Number(value)) : undefined),
  },
  Date: { label: 'date', encode: encodeDate },
  Buffer: { label: 'bytes', encode: bytesOf },
  UUID: { label: 'uuid', encode: bytesOf },
  ObjectId: { label: 'objectId', encode: (value) => bytesOfHex(value, 'ObjectId') },
  Decimal128: { label: 'decimal', encode: encodeDecimal },
  BigInt: {
    label: 'bigint',
    encode: (value) => (typeof value === 'bigint' ? String(value) : undefined),
  },
}

/** The kind of a schema type, by its name; `undefined` for one whose values have parts. */
export function kindOf(instance: string): Kind | undefined {
  return Object.hasOwn(kinds, instance) ? kinds[instance] : undefined
}

/** Upper case first: several lower-case letters have one upper case, such as both forms of sigma, and ß has none but SS. */
export function folded(text: string): string {
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
function encodeDecimal(value: unknown): string | undefined {
  if (!isOf(value, 'Decimal128')) return undefined
  const text = String(value)
  const [, sign, whole = '', fraction = '', exponent = '0'] = /^(-?)(\d*)\.?(\d*)(?:E([+-]?\d+))?$/.exec(text) ?? []
  if (sign === undefined) return text
  const digits = `${whole}${fraction}`.replace(/^0+/, '')
  const significant = digits.replace(/0+$/, '')
  if (significant === '') return '0'
  const power = Number(exponent) - fraction.length + digits.length - significant.length
  return `${sign}${significant}E${power}`
}

function isOf(value: unknown, type: string): boolean {
  return (value as { _bsontype?: unknown } | null)?._bsontype === type
}
