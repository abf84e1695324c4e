import { parseArgs } from 'node:util'
import { startEmbedded } from './index'

/**
 * The embedded server as a process of its own: prints its URI as one line, ends on SIGTERM or SIGINT.
 *
 *     node --import tsx test/mongo/embedded/main.ts --port 27117
 */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { port: { type: 'string', default: '0' } } })
  const server = await startEmbedded({ port: Number(values.port) })
  console.log(server.uri)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void server.stop())
}

void main()
