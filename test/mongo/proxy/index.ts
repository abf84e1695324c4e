import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Faults, type ReceivedCommand } from './faults'
import { Link } from './link'
import { findServer, type ServerAddress, uriThrough } from './uri'

export type { FailAnswer, FaultMatch, Hold, ReceivedCommand } from './faults'

/** The driver's own. */
const UNRECORDED = ['ping', 'endSessions', 'buildInfo']
/** The record is for assertions; a program that runs long must not fill the memory with it. */
const MAX_RECORDED = 10_000

/**
 * Stands between the driver and whichever MongoDB server there is: passes its bytes on as they are, and on the way
 * records the commands, and drops, delays, holds or answers those that a test has set faults for.
 */
export class MongoProxy {
  readonly faults = new Faults()
  readonly #links = new Set<Link>()
  readonly #proxy = createServer({ noDelay: true }, (client) => this.#link(client))
  #server?: ServerAddress
  #commands: ReceivedCommand[] = []

  /** The commands received, oldest first, without what the driver sends by itself. */
  get commands(): readonly ReceivedCommand[] {
    return this.#commands
  }

  clearCommands(): void {
    this.#commands = []
  }

  /**
   * Listens on 127.0.0.1, in front of the server of the test run where no other is named. Gives the URI to connect to.
   *
   * @throws {Error} where the server speaks TLS
   */
  async start(uri = process.env.TEST_MONGO_URI as string): Promise<string> {
    this.#server = await findServer(uri)
    this.#proxy.listen(0, '127.0.0.1')
    await once(this.#proxy, 'listening')
    return uriThrough(uri, `127.0.0.1:${(this.#proxy.address() as AddressInfo).port}`)
  }

  /** Closes all connections, those with held commands too. */
  async stop(): Promise<void> {
    const closed = once(this.#proxy, 'close')
    this.#proxy.close()
    for (const link of this.#links) link.close()
    this.faults.clear()
    await closed
  }

  #link(client: Socket): void {
    const server = connect({ ...this.#server!, noDelay: true })
    const link = new Link(client, server, (received) => {
      this.#record(received)
      return this.faults.take(received)
    })
    this.#links.add(link)
    client.once('close', () => this.#links.delete(link))
  }

  #record(received: ReceivedCommand): void {
    if (UNRECORDED.includes(received.name)) return
    if (this.#commands.length >= MAX_RECORDED) this.#commands = this.#commands.slice(MAX_RECORDED / 2)
    this.#commands.push(received)
  }
}
