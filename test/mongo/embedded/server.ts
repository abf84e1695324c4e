import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { Long, ObjectId } from 'bson'
import { encodeReply, Framer, parseRequest, type Request } from '../wire'
import { Executor } from './commands'
import type { Doc } from './errors'
import { toNumber } from './values'

export type EmbeddedServer = {
  /** For `mongoose.connect()`, without a database name. */
  readonly uri: string
  readonly port: number
  /** Closes all connections and the port. All data is gone. */
  stop(): Promise<void>
}

const HELLO = ['hello', 'isMaster', 'ismaster']
/** Leaves stay `bson` class instances, so that every number keeps its type through storage. */
const EXACT = { promoteValues: false, bsonRegExp: true } as const

/** On loopback a server is found at once or not at all; driver 6 leaves a timer of this length behind after a retry. */
const SERVER_SELECTION_TIMEOUT_MS = 2000

/** Starts the embedded server on a port of 127.0.0.1, any free one by default. */
export async function startEmbedded({ port = 0 }: { port?: number } = {}): Promise<EmbeddedServer> {
  const executor = new Executor()
  const connections = new Set<Connection>()
  const server = createServer({ noDelay: true }, (socket) => {
    const connection = new Connection(socket, { executor, address, processId })
    connections.add(connection)
    socket.once('close', () => connections.delete(connection))
  })
  const processId = new ObjectId()
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const actualPort = (server.address() as AddressInfo).port
  const address = `127.0.0.1:${actualPort}`
  return {
    uri: `mongodb://${address}/?replicaSet=rs0&serverSelectionTimeoutMS=${SERVER_SELECTION_TIMEOUT_MS}`,
    port: actualPort,
    async stop() {
      executor.stop()
      const closed = once(server, 'close')
      server.close()
      for (const connection of connections) connection.close()
      await closed
    },
  }
}

type Shared = {
  executor: Executor
  address: string
  processId: ObjectId
}

/** One client connection: its requests are answered in order. */
class Connection {
  readonly #socket: Socket
  readonly #shared: Shared
  readonly #framer = new Framer()
  #queue: Promise<void> = Promise.resolve()
  #heartbeat?: NodeJS.Timeout

  constructor(socket: Socket, shared: Shared) {
    this.#socket = socket
    this.#shared = shared
    socket.on('data', (chunk) => {
      for (const message of this.#framer.push(chunk)) this.#receive(message)
    })
    // A client that goes away is no error of the server.
    socket.on('error', () => socket.destroy())
    socket.on('close', () => clearTimeout(this.#heartbeat))
  }

  close(): void {
    clearTimeout(this.#heartbeat)
    this.#socket.destroy()
  }

  #receive(message: Buffer): void {
    this.#queue = this.#queue.then(() => this.#answer(parseRequest(message, EXACT))).catch(() => this.close())
  }

  async #answer(request: Request): Promise<void> {
    const { command } = request
    const name = Object.keys(command)[0] ?? ''
    if (HELLO.includes(name)) return this.#hello(request)
    const reply = await this.#shared.executor.execute(command)
    if (!request.silent) this.#send(request, reply)
  }

  #send(request: Request, reply: Doc, more = false): number {
    const { bytes, requestId } = encodeReply(request, reply, more)
    if (this.#socket.writable) this.#socket.write(bytes)
    return requestId
  }

  /**
   * The handshake, and the driver's monitor: a `hello` that names the topology it knows awaits a change, and nothing
   * ever changes here. A streaming monitor is then sent one answer after the other without asking again.
   */
  #hello(request: Request): void {
    const { topologyVersion, maxAwaitTimeMS } = request.command
    if (topologyVersion === undefined || maxAwaitTimeMS === undefined) {
      this.#send(request, this.#topology(), request.exhaust && topologyVersion !== undefined)
      return
    }
    this.#heartbeat = setTimeout(() => {
      const requestId = this.#send(request, this.#topology(), request.exhaust)
      if (request.exhaust) this.#hello({ ...request, requestId })
    }, toNumber(maxAwaitTimeMS)).unref()
  }

  #topology(): Doc {
    const { address, processId } = this.#shared
    return {
      helloOk: true,
      isWritablePrimary: true,
      ismaster: true,
      secondary: false,
      setName: 'rs0',
      setVersion: 1,
      hosts: [address],
      primary: address,
      me: address,
      topologyVersion: { processId, counter: Long.ZERO },
      localTime: new Date(),
      maxBsonObjectSize: 16 * 1024 * 1024,
      maxMessageSizeBytes: 48_000_000,
      maxWriteBatchSize: 100_000,
      logicalSessionTimeoutMinutes: 30,
      minWireVersion: 0,
      maxWireVersion: 25,
      readOnly: false,
      ok: 1,
    }
  }
}
