/**
 * Joins byte strings, and texts as UTF-8, so that no two different lists give the same bytes: each part is preceded by its length as an
 * unsigned 32-bit big-endian integer.
 */
export function lengthPrefixed(parts: readonly (Uint8Array | string)[]): Buffer {
  let total = 0
  for (const part of parts) total += 4 + (typeof part === 'string' ? Buffer.byteLength(part) : part.length)
  const joined = Buffer.allocUnsafe(total)
  let offset = 0
  for (const part of parts) {
    let { length } = part
    if (typeof part === 'string') length = joined.write(part, offset + 4)
    else joined.set(part, offset + 4)
    joined.writeUInt32BE(length, offset)
    offset += 4 + length
  }
  return joined
}

/** Whether two byte strings are the same; both may be missing. */
export function sameBytes(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  return one === other || (one !== undefined && other !== undefined && Buffer.compare(one, other) === 0)
}

/** Copies bytes into memory of their own: not a view into Node's shared pool, so that they can be zeroed for good. */
export function copyBytes(bytes: Uint8Array): Buffer {
  const copy = Buffer.alloc(bytes.length)
  copy.set(bytes)
  return copy
}

/** Bytes as a text of as many characters, for what compares texts. */
export function latin1({ buffer, byteOffset, length }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, length).toString('latin1')
}
