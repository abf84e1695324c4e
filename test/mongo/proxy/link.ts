import type { Socket } from 'node:net'
import type { Doc } from '../embedded/errors'
import { encodeReply, Framer, parseRequest, type Request, responseTo } from '../wire'
import type { Action, ReceivedCommand } from './faults'

/** By these a connection is made, kept and allowed: no faults for them, or nothing would ever connect. */
const HANDSHAKE = ['hello', 'isMaster', 'ismaster', 'saslStart', 'saslContinue', 'authenticate']

/** A client's connection, and the one to the server that belongs to it. Requests go through in their order. */
export class Link {
  readonly #client: Socket
  readonly #server: Socket
  readonly #actionsFor: (received: ReceivedCommand) => Action[]
  /** What happens in the place of answers to come, by the request they are for. */
  readonly #instead = new Map<number, () => void>()
  #queue: Promise<void> = Promise.resolve()

  constructor(client: Socket, server: Socket, actionsFor: (received: ReceivedCommand) => Action[]) {
    this.#client = client
    this.#server = server
    this.#actionsFor = actionsFor
    const [requests, answers] = [new Framer(), new Framer()]
    client.on('data', (chunk) => {
      for (const message of requests.push(chunk)) this.#receive(message)
    })
    // Not only one for each request: a server goes on answering the `hello` of a monitor that streams.
    server.on('data', (chunk) => {
      for (const message of answers.push(chunk)) this.#answer(message)
    })
    for (const socket of [client, server]) {
      // What one side does not stand, the other sees as a connection that is closed.
      socket.on('error', () => this.close())
      socket.on('close', () => this.close())
    }
  }

  close(): void {
    this.#client.destroy()
    this.#server.destroy()
  }

  #receive(message: Buffer): void {
    this.#queue = this.#queue.then(() => this.#request(message)).catch(() => this.close())
  }

  async #request(message: Buffer): Promise<void> {
    const request = parseRequest(message)
    const received = describe(request.command)
    const actions = HANDSHAKE.includes(received.name) ? [] : this.#actionsFor(received)
    for (const { before } of actions) await before?.()
    const drop = actions.find((action) => action.drop !== undefined)?.drop
    const fail = actions.find((action) => action.fail !== undefined)?.fail
    const instead = drop ? () => this.close() : fail && (() => this.#reply(request, fail.reply))
    if (drop === 'before' || fail?.applied === false) return instead?.()
    // What is sent so has no answer to wait for: it is applied when the server has read it.
    if (drop && request.silent) return void this.#server.end(message, instead)
    if (instead) this.#instead.set(request.requestId, instead)
    this.#server.write(message)
  }

  #reply(request: Request, reply: Doc): void {
    if (!request.silent) this.#client.write(encodeReply(request, reply).bytes)
  }

  #answer(message: Buffer): void {
    const instead = this.#instead.get(responseTo(message))
    this.#instead.delete(responseTo(message))
    if (instead) instead()
    else this.#client.write(message)
  }
}

function describe(command: Doc): ReceivedCommand {
  const name = Object.keys(command)[0] ?? ''
  const collection = name === 'getMore' ? command.collection : command[name]
  return {
    name,
    database: String(command.$db),
    collection: typeof collection === 'string' ? collection : '',
    command,
  }
}
