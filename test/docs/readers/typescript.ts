import { createDecipheriv, createHash, hkdfSync, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { Binary, Decimal128, Double, deserialize, Long, serialize } from 'bson'

/** What whoever reads a field is told beside what is stored. It is JSON, for readers in other languages. */
export interface Request {
  /** The whole document, BSON in hexadecimal. */
  readonly document: string
  /** Where the field is stored, with positions in arrays: `contacts.0.phone`. */
  readonly path: string
  /** That of localKms, in hexadecimal. */
  readonly secret: string
  readonly model: string
  readonly keyPath: string
  /** Whether the field is under the data key of the document that holds the subdocument. */
  readonly owner?: boolean
  /** What the option `context` gives, by the version. */
  readonly contexts: Readonly<Record<string, Record<string, string>>>
  /** The type of the `_id` of the document, and of the subdocument, where it is a number. */
  readonly idType?: string
  readonly idTypeWithin?: string
}

/** The plaintext as BSON in hexadecimal, or the step of "To decrypt a field" that refuses. */
export type Answer = { readonly plaintext: string } | { readonly refused: number }

class Refused extends Error {
  constructor(readonly step: number) {
    super(`refused by step ${step}`)
  }
}

/** Reads a field by the rules of docs/format.md alone, with nothing of the library. */
export function answer(request: Request): Answer {
  try {
    return { plaintext: read(request).toString('hex') }
  } catch (error) {
    if (error instanceof Refused) return { refused: error.step }
    throw error
  }
}

function read({ path, secret, model, keyPath, owner, contexts, ...request }: Request): Buffer {
  const document = deserialize(Buffer.from(request.document, 'hex'))
  const { holder, at, field } = locate(document, path)
  const id = castId(document._id, request.idType)
  const ownId = castId(holder._id, request.idTypeWithin)

  const envelope = bytesOf(holder[field], 0x80)
  refuseUnless(envelope && envelope.length >= 33 && envelope[0] === 1, 1)
  const entry = entryOf((owner ? document : holder)[keyPath], envelope.subarray(1, 5))

  const within = at === '' || owner ? '' : `/${at}${ownId === undefined ? '' : `/${idText(ownId)}`}`
  const [context, bound] = [entry.version, entry.boundVersion].map((version) => {
    const added = contexts[version]
    refuseUnless(added, 3)
    const pairs = Object.entries({ Record: `${model}/${idText(id)}${within}`, ...added })
    const encoded = pairs.map((pair) => pair.map((text) => Buffer.from(text)) as [Buffer, Buffer])
    return lp(...encoded.sort(([one], [other]) => Buffer.compare(one, other)).flat())
  }) as [Buffer, Buffer]
  const dataKey = unwrap(Buffer.from(secret, 'hex'), entry, context)

  refuseUnless(timingSafeEqual(derive(dataKey, 'commitment'), entry.commitment), 4)

  const identity = serialize(at === '' ? { v: id } : { v: id, at, id: ownId })
  const aad = lp('mongoose-kms-encrypted/1', Buffer.of(1), bound, identity, field)
  const plaintext = open(derive(dataKey, 'encryption'), aad, envelope.subarray(5))
  refuseUnless(plaintext, 5)
  refuseUnless(Object.keys(deserialize(plaintext)).join() === 'v', 6)
  return plaintext
}

/** The record or subdocument that has the field, and its path without positions in arrays. */
function locate(document: Record<string, any>, path: string) {
  const segments = path.split('.')
  const field = segments.pop() as string
  const names: string[] = []
  let holder: any = document
  for (const segment of segments) {
    if (!Array.isArray(holder)) names.push(segment)
    holder = holder[segment]
  }
  return { holder, at: names.join('.'), field }
}

function castId(id: any, type: string | undefined): unknown {
  if (type === 'Number') return Number(id)
  if (type === 'BigInt') return BigInt(id)
  return type === 'Double' ? new Double(Number(id)) : id
}

function idText(id: any): string {
  if (id instanceof Date) return id.toISOString()
  if (id instanceof Binary) {
    const hex = Buffer.from(id.buffer).toString('hex')
    const isUuid = id.sub_type === 4 && id.buffer.length === 16
    return isUuid ? hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-') : hex
  }
  if (id instanceof Decimal128 || id instanceof Long) return id.toString()
  return id !== null && typeof id === 'object' && !id._bsontype ? JSON.stringify(id) : String(id)
}

/** Step 2. */
function entryOf(entries: any, reference: Buffer) {
  const found = (Array.isArray(entries) ? entries : []).filter(({ commitment }) =>
    bytesOf(commitment, 0)?.subarray(0, 4).equals(reference),
  )
  refuseUnless(found.length === 1, 2)
  const { version, boundVersion = version, keyId, createdAt, crc32: checksum, ...rest } = found[0]
  const wrapped = bytesOf(rest.wrapped, 0)
  const commitment = bytesOf(rest.commitment, 0)
  refuseUnless(wrapped && commitment?.length === 32, 2)
  refuseUnless(
    Number.isInteger(version) &&
      Number.isInteger(boundVersion) &&
      typeof keyId === 'string' &&
      createdAt instanceof Date,
    2,
  )
  const numbers = Buffer.alloc(boundVersion === version ? 12 : 16)
  numbers.writeInt32BE(version)
  numbers.writeBigInt64BE(BigInt(createdAt.getTime()), 4)
  if (boundVersion !== version) numbers.writeInt32BE(boundVersion, 12)
  refuseUnless((crc32(lp(numbers, keyId, wrapped, commitment)) | 0) === checksum, 2)
  return { version, boundVersion, keyId, wrapped, commitment } as const
}

/** Step 3, by localKms. */
function unwrap(secret: Buffer, { keyId, wrapped }: { keyId: string; wrapped: Buffer }, context: Buffer): Buffer {
  const digest = createHash('sha256').update('key id').update(secret).digest('hex')
  refuseUnless(keyId === `local:not-for-production/${digest.slice(0, 16)}` && wrapped.length === 60, 3)
  const dataKey = open(secret, context, wrapped)
  refuseUnless(dataKey, 3)
  return dataKey
}

function derive(dataKey: Buffer, what: string): Buffer {
  return Buffer.from(hkdfSync('sha256', dataKey, '', `mongoose-kms-encrypted/1 ${what}`, 32))
}

/** Decrypts nonce ‖ ciphertext ‖ tag; `undefined` where the tag does not verify. */
function open(key: Buffer, aad: Buffer, bytes: Buffer): Buffer | undefined {
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12), { authTagLength: 16 })
  decipher.setAAD(aad).setAuthTag(bytes.subarray(-16))
  const plaintext = decipher.update(bytes.subarray(12, -16))
  try {
    return Buffer.concat([plaintext, decipher.final()])
  } catch {
    return undefined
  }
}

function lp(...parts: (Uint8Array | string)[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const length = Buffer.alloc(4)
      length.writeUInt32BE(Buffer.byteLength(part as string))
      return [length, Buffer.from(part as string)]
    }),
  )
}

function bytesOf(value: unknown, subtype: number): Buffer | undefined {
  return value instanceof Binary && value.sub_type === subtype ? Buffer.from(value.buffer) : undefined
}

function refuseUnless(condition: unknown, step: number): asserts condition {
  if (!condition) throw new Refused(step)
}
