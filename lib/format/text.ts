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
