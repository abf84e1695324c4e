import { createHash } from 'node:crypto'
import type { Mongoose } from 'mongoose'
import { Needles, type Secrets } from './secrets'
import type { Shape } from './shape'
import { digitsIn, Wire } from './wire'

interface Sent {
  readonly name: string
  readonly bytes: Buffer
  readonly command: Record<string, any>
}

/** What must not be sent. */
interface Kept {
  readonly shape: Shape
  readonly secrets: Secrets
  readonly needles: Needles
  readonly hashes: ReadonlyMap<string, string>
}

/** Listens to every command of a connection, and looks for what must not be sent. */
export class Listener {
  readonly #bson: Mongoose['mongo']['BSON']
  #sent: Sent[] = []

  constructor({ mongo }: Mongoose, client: { on(event: any, listener: (event: any) => void): unknown }) {
    this.#bson = mongo.BSON
    client.on('commandStarted', ({ commandName, command }) => this.#note(commandName, command))
  }

  #note(name: string, { lsid, $clusterTime, ...command }: Record<string, any>): void {
    let bytes: Uint8Array
    try {
      bytes = this.#bson.serialize(command, { ignoreUndefined: true })
    } catch {
      // The driver serialises after this event, so what cannot be serialised is not sent either.
      return
    }
    this.#sent.push({ name, bytes: Buffer.from(bytes), command: this.#bson.deserialize(bytes) })
  }

  /** What was sent in the clear since the last time, in words; empty when nothing was. */
  leaks({ shape, secrets, needles, hashes }: Kept): string[] {
    const sent = this.#sent
    this.#sent = []
    if (sent.length === 0) return []
    const wire = new Wire(shape)
    return sent.flatMap(({ name, bytes, command }) => {
      const text = needles.find(bytes)
      if (text) return [`${name} sends ${text.text} as ${text.as}`]
      const digits = [...digitsIn(command)].find((each) => secrets.numbers.has(each))
      if (digits !== undefined) return [`${name} sends the value ${digits}`]
      const hashed = [...binariesIn(command)].map((hex) => hashes.get(hex)).find((each) => each !== undefined)
      if (hashed !== undefined) return [`${name} sends a hash of ${hashed} without a key`]
      const path = wire.clearPath(command)
      return path === undefined ? [] : [`${name} sends something at ${path} that is no envelope`]
    })
  }
}

/** Only what a sequence really says is looked for: drawing makes more than it uses. */
export function needlesFor(secrets: Secrets, source: string): Needles {
  const lower = source.toLowerCase()
  return new Needles(secrets.texts.filter((text) => lower.includes(text)))
}

/** The hashes of what a sequence says that anybody could make, with what each is of. */
export function hashesOf(source: string): ReadonlyMap<string, string> {
  const texts = [...source.matchAll(/'([^']*zq[^']*)'/gi)].map(([, text]) => text as string)
  const forms = texts.flatMap((text) => [text, text.trim()]).flatMap((text) => [text, text.toLowerCase()])
  const numbers = source.match(/\b\d{8,}\b/g) ?? []
  const hashes = new Map<string, string>()
  for (const text of new Set([...forms, ...numbers]))
    for (const name of ['sha256', 'sha512', 'sha1', 'md5'])
      hashes.set(createHash(name).update(text).digest('hex'), `${text} by ${name}`)
  return hashes
}

function* binariesIn(value: any): Generator<string> {
  if (value?._bsontype === 'Binary') yield Buffer.from(value.buffer).subarray(0, value.position).toString('hex')
  else if (value !== null && typeof value === 'object' && !value._bsontype)
    for (const item of Object.values(value)) yield* binariesIn(item)
}
