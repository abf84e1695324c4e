import { type DeserializeOptions, deserialize, serialize } from 'bson'
import type { Doc } from './embedded/errors'

/** The wire protocol: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/ */
const OP_REPLY = 1
const OP_QUERY = 2004
const OP_MSG = 2013

const CHECKSUM_PRESENT = 1 << 0
const MORE_TO_COME = 1 << 1
const EXHAUST_ALLOWED = 1 << 16

export type Request = {
  requestId: number
  command: Doc
  /** The client uses the handshake of old, and is answered in kind. */
  legacy: boolean
  /** The client awaits no answer. */
  silent: boolean
  /** The client accepts further answers to this one request. */
  exhaust: boolean
}

/** Cuts a stream of bytes into messages. */
export class Framer {
  #chunks: Buffer[] = []
  #bytes = 0

  /** Takes the next bytes and gives the messages they complete. */
  push(chunk: Buffer): Buffer[] {
    const messages: Buffer[] = []
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    while (this.#bytes >= 4) {
      if (this.#chunks[0]!.length < 4) this.#chunks = [Buffer.concat(this.#chunks)]
      const length = this.#chunks[0]!.readInt32LE(0)
      if (this.#bytes < length) break
      const all = Buffer.concat(this.#chunks)
      this.#chunks = [all.subarray(length)]
      this.#bytes -= length
      // Copied out, so that a small stored value does not keep a whole network buffer alive.
      messages.push(Buffer.from(all.subarray(0, length)))
    }
    return messages
  }
}

/** Takes a message of a client apart; `options` tell what becomes of its values. */
export function parseRequest(message: Buffer, options: DeserializeOptions = {}): Request {
  const requestId = message.readInt32LE(4)
  const opCode = message.readInt32LE(12)
  if (opCode === OP_QUERY) {
    const database = message.toString('utf8', 20, message.indexOf(0, 20)).split('.')[0]
    const start = message.indexOf(0, 20) + 1 + 8
    const command = { ...readDoc(message, start, options).doc, $db: database }
    return { requestId, command, legacy: true, silent: false, exhaust: false }
  }
  if (opCode !== OP_MSG) throw new Error(`unsupported wire protocol message ${opCode}`)
  const flags = message.readUInt32LE(16)
  const end = message.length - (flags & CHECKSUM_PRESENT ? 4 : 0)
  return {
    requestId,
    command: readSections(message, 20, end, options),
    legacy: false,
    silent: (flags & MORE_TO_COME) !== 0,
    exhaust: (flags & EXHAUST_ALLOWED) !== 0,
  }
}

/** Kind 0 is the command itself, kind 1 an array of its documents, sent apart. */
function readSections(message: Buffer, start: number, end: number, options: DeserializeOptions): Doc {
  let command: Doc = {}
  const sequences: Doc = {}
  for (let at = start; at < end; ) {
    const kind = message.readUInt8(at)
    at += 1
    if (kind === 0) {
      const { doc, next } = readDoc(message, at, options)
      command = doc
      at = next
    } else {
      const sectionEnd = at + message.readInt32LE(at)
      const nameEnd = message.indexOf(0, at + 4)
      const docs: Doc[] = []
      for (let from = nameEnd + 1; from < sectionEnd; ) {
        const { doc, next } = readDoc(message, from, options)
        docs.push(doc)
        from = next
      }
      sequences[message.toString('utf8', at + 4, nameEnd)] = docs
      at = sectionEnd
    }
  }
  return Object.assign(command, sequences)
}

function readDoc(message: Buffer, at: number, options: DeserializeOptions): { doc: Doc; next: number } {
  const next = at + message.readInt32LE(at)
  return { doc: deserialize(message.subarray(at, next), options), next }
}

let lastRequestId = 0

/** The answer to a request; `more` announces another one to the same request. */
export function encodeReply(request: Request, doc: Doc, more = false): { bytes: Buffer; requestId: number } {
  const body = serialize(doc, { ignoreUndefined: true })
  const prefix = Buffer.alloc(request.legacy ? 36 : 21)
  lastRequestId = (lastRequestId + 1) % 0x7fffffff
  prefix.writeInt32LE(prefix.length + body.length, 0)
  prefix.writeInt32LE(lastRequestId, 4)
  prefix.writeInt32LE(request.requestId, 8)
  prefix.writeInt32LE(request.legacy ? OP_REPLY : OP_MSG, 12)
  if (request.legacy) prefix.writeInt32LE(1, 32)
  else prefix.writeUInt32LE(more ? MORE_TO_COME : 0, 16)
  return { bytes: Buffer.concat([prefix, body]), requestId: lastRequestId }
}

/** The request that an answer is for. */
export function responseTo(message: Buffer): number {
  return message.readInt32LE(8)
}
