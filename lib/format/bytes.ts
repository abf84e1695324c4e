/**
 * Joins byte strings so that no two different lists give the same bytes: each part is preceded by its length as an
 * unsigned 32-bit big-endian integer.
 */
export function lengthPrefixed(parts: readonly Uint8Array[]): Buffer {
  const joined = Buffer.allocUnsafe(parts.reduce((total, part) => total + 4 + part.length, 0))
  let offset = 0
  for (const part of parts) {
    offset = joined.writeUInt32BE(part.length, offset)
    joined.set(part, offset)
    offset += part.length
  }
  return joined
}

/** Whether two byte strings are the same; both may be missing. */
export function sameBytes(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  return one && other ? Buffer.compare(one, other) === 0 : one === other
}

/** Copies bytes into memory of their own: not a view into Node's shared pool, so that they can be zeroed for good. */
export function copyBytes(bytes: Uint8Array): Buffer {
  const copy = Buffer.alloc(bytes.length)
  copy.set(bytes)
  return copy
}
