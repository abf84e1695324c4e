import { MongoMemoryReplSet } from 'mongodb-memory-server'
import { isDownloadable, locateBinary } from './binary'
import { helloOf } from './client'
import { startEmbedded } from './embedded'

export type MongoKind = 'uri' | 'memory-server' | 'embedded'
export type RunningMongo = { uri: string; kind: MongoKind; stop(): Promise<void> }

const KINDS: readonly string[] = ['uri', 'memory-server', 'embedded'] satisfies MongoKind[]

/**
 * Starts the database of a test run, or finds it: the server of `MONGODB_URI`; a `mongod` of `mongodb-memory-server`
 * that is named, cached or downloaded; or, where neither is to be had, the embedded server. `TEST_MONGO` forces one,
 * and then a failure to start is an error and never a fallback. One line on stderr tells which one runs.
 *
 * @throws {Error} when the server asked for does not start
 */
export async function startMongo(env: NodeJS.ProcessEnv = process.env): Promise<RunningMongo> {
  const { kind, reason } = await chooseKind(env)
  try {
    return await start(kind, reason, env)
  } catch (error) {
    // A download that broke off is like one that was refused; everything else that fails was asked for.
    if (reason !== DOWNLOADED) throw error
    return start('embedded', `the download of mongod failed: ${(error as Error).message}`, env)
  }
}

const DOWNLOADED = 'a downloaded mongod'

async function start(kind: MongoKind, reason: string, env: NodeJS.ProcessEnv): Promise<RunningMongo> {
  const { uri, stop } = await STARTERS[kind](env)
  console.error(`MongoDB for tests: ${kind} (${reason}), ${withoutPassword(uri)}`)
  return { uri, kind, stop }
}

async function chooseKind(env: NodeJS.ProcessEnv): Promise<{ kind: MongoKind; reason: string }> {
  const forced = env.TEST_MONGO
  if (forced) {
    if (!KINDS.includes(forced)) throw new Error(`TEST_MONGO must be one of ${KINDS.join(', ')}, got '${forced}'`)
    return { kind: forced as MongoKind, reason: 'by TEST_MONGO' }
  }
  if (env.MONGODB_URI) return { kind: 'uri', reason: 'by MONGODB_URI' }
  const binary = await locateBinary()
  if (binary !== undefined) return { kind: 'memory-server', reason: binary }
  if (await isDownloadable()) return { kind: 'memory-server', reason: DOWNLOADED }
  return { kind: 'embedded', reason: 'no mongod here, and none can be downloaded' }
}

const STARTERS: Record<MongoKind, (env: NodeJS.ProcessEnv) => Promise<Omit<RunningMongo, 'kind'>>> = {
  async uri(env) {
    if (!env.MONGODB_URI) throw new Error('TEST_MONGO=uri needs MONGODB_URI')
    await expectReplicaSet(env.MONGODB_URI)
    return { uri: env.MONGODB_URI, stop: async () => {} }
  },
  async 'memory-server'() {
    const replSet = await MongoMemoryReplSet.create({ replSet: { count: 1, storageEngine: 'wiredTiger' } })
    return {
      uri: replSet.getUri(),
      async stop() {
        await replSet.stop()
      },
    }
  },
  embedded: () => startEmbedded(),
}

/** A `mongod` by itself does all but transactions, and would fail far from the cause. */
async function expectReplicaSet(uri: string): Promise<void> {
  const { setName, msg } = await helloOf(uri)
  if (setName !== undefined || msg === 'isdbgrid') return
  throw new Error(
    `${withoutPassword(uri)} is a server by itself, and transactions need a replica set: start it by \`mongod --replSet rs0\`, and once call \`rs.initiate()\` in mongosh`,
  )
}

function withoutPassword(uri: string): string {
  return uri.replace(/\/\/[^/]*@/, '//…@')
}
