/**
 * BSON of `{ v: text }`, byte for byte what a BSON library makes of it: most values are text, and that takes several times as long.
 *
 * @see https://bsonspec.org/spec.html
 */
export function encodeText(text: string): Buffer {
  const length = Buffer.byteLength(text)
  const bytes = Buffer.allocUnsafe(length + 13)
  bytes.writeInt32LE(length + 13, 0)
  // An element of the type string, whose name is v.
  bytes[4] = 2
  bytes[5] = 0x76
  bytes[6] = 0
  bytes.writeInt32LE(length + 1, 7)
  bytes.write(text, 11)
  // The ends of the text and of the document.
  bytes[length + 11] = 0
  bytes[length + 12] = 0
  return bytes
}

/**
 * The mirror of {@link encodeText}.
 *
 * @returns `undefined` for BSON of anything else
 */
export function decodeText(bytes: Buffer): string | undefined {
  const { length } = bytes
  const isText =
    length >= 13 &&
    bytes[4] === 2 &&
    bytes[5] === 0x76 &&
    bytes[6] === 0 &&
    bytes.readInt32LE(0) === length &&
    bytes.readInt32LE(7) === length - 12 &&
    bytes[length - 2] === 0 &&
    bytes[length - 1] === 0
  return isText ? bytes.toString('utf8', 11, length - 2) : undefined
}
