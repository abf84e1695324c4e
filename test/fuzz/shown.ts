import { inspect } from 'node:util'
import type { Needles, Secrets } from './secrets'

/** What prints documents, whoever does it: a log, a response, a debugger. */
const printers: Readonly<Record<string, (doc: any) => string>> = {
  inspect: (doc) => inspect(doc, { depth: 8 }),
  'JSON.stringify': (doc) => JSON.stringify(doc),
  toObject: (doc) => inspect(doc.toObject({ virtuals: true }), { depth: 8 }),
  // Errors hold the values that they are about, as Mongoose's own do.
  spread: (doc) => inspect(spread(doc), { depth: 6 }),
  '{ ..._doc }': (doc) => inspect({ ...doc._doc }, { depth: 6 }),
}

/** Without what the application put onto the document itself, as it does where a schema has no such path. */
function spread(doc: any): object {
  const entries = Object.entries({ ...doc }).filter(
    ([name]) => name.startsWith('$') || name === '_doc' || doc.schema.path(name),
  )
  return { ...Object.fromEntries(entries), $__: undefined, $errors: undefined }
}

/** Says what printing a document shows that it must not: a value, a ciphertext, a wrapped key; or that it fails. */
export function shownBy(
  doc: any,
  { needles, secrets, raws }: { needles: Needles; secrets: Secrets; raws: readonly object[] },
): string | undefined {
  // The few bytes of a shortened index value stand in any text.
  const long = [...bytesIn(raws)].filter((each) => each.length > 8)
  const bytes = long.flatMap((each) => [each.toString('hex'), each.toString('base64')].map((text) => text.slice(0, 24)))
  for (const [name, print] of Object.entries(printers)) {
    let printed: string
    try {
      printed = print(doc) ?? ''
    } catch (error: any) {
      return `${name} throws ${error?.name}: ${error?.message}`
    }
    const digits = printed.match(/\d{8,}(\.25)?|5ec5e7\w{18}/g)?.find((each) => secrets.numbers.has(each))
    const text = needles.find(printed)?.text ?? digits
    if (text) return `${name} shows a value\n${text} in ${printed.slice(0, 2000)}`
    if (bytes.some((each) => printed.includes(each))) return `${name} shows stored bytes\n${printed.slice(0, 2000)}`
  }
  return undefined
}

/** The ciphertexts and wrapped keys of raw documents. */
function* bytesIn(value: any): Generator<Buffer> {
  if (value?._bsontype === 'Binary') yield Buffer.from(value.buffer).subarray(0, value.position)
  else if (value !== null && typeof value === 'object' && !value._bsontype)
    for (const item of Object.values(value)) yield* bytesIn(item)
}
