/**
 * Joins byte strings, and texts as UTF-8, so that no two different lists give the same bytes: each part is preceded by its length as an
 * unsigned 32-bit big-endian integer.
 */
export function lengthPrefixed(parts: readonly (Uint8Array | string)[]): Buffer {
  const lengths = parts.map((part) => (typeof part === 'string' ? Buffer.byteLength(part) : part.length))
  const joined = Buffer.allocUnsafe(lengths.reduce((total, length) => total + 4 + length, 0))
  let offset = 0
  for (const [index, part] of parts.entries()) {
    const length = lengths[index] as number
    offset = joined.writeUInt32BE(length, offset)
    if (typeof part === 'string') joined.write(part, offset)
    else joined.set(part, offset)
    offset += length
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
