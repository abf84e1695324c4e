import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server as HttpServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDownloadable } from './binary'
import { startMongo } from './index'
import { encodeReply, Framer, parseRequest } from './wire'

const open: (Server | HttpServer)[] = []
const sockets = new Set<Socket>()
const line = jest.spyOn(console, 'error').mockImplementation(() => {})
// `mongodb-memory-server` warns of what is then thrown anyway.
jest.spyOn(console, 'warn').mockImplementation(() => {})
const { env } = process

async function listen(server: Server | HttpServer): Promise<string> {
  open.push(server)
  server.on('connection', (socket: Socket) => sockets.add(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A server that answers everything as if it were asked who it is. */
async function listenAsMongo(hello: object): Promise<string> {
  const server = createTcpServer((socket) => {
    const framer = new Framer()
    socket.on('data', (chunk) => {
      for (const message of framer.push(chunk)) {
        const hosts = [`127.0.0.1:${socket.localPort}`]
        const answer = { isWritablePrimary: true, hosts, minWireVersion: 0, maxWireVersion: 25, ...hello, ok: 1 }
        socket.write(encodeReply(parseRequest(message), answer).bytes)
      }
    })
  })
  return new URL(await listen(server)).host
}

/** `mongodb-memory-server` reads the environment itself; no proxy and no cache of this machine may matter. */
beforeEach(() => {
  const kept = Object.entries(env).filter(([name]) => !/proxy|^MONGO|^TEST_MONGO/i.test(name))
  process.env = { ...Object.fromEntries(kept), MONGOMS_DOWNLOAD_DIR: '/nonexistent', MONGOMS_VERSION: '8.0.999' }
})

afterEach(async () => {
  process.env = env
  line.mockClear()
  for (const socket of sockets) socket.destroy()
  sockets.clear()
  for (const server of open.splice(0)) server.close()
})

describe('the choice of the database', () => {
  it.each([{ setName: 'rs0' }, { msg: 'isdbgrid' }])(
    'is the server of MONGODB_URI, given as it is: %j',
    async (hello) => {
      const uri = `mongodb://${await listenAsMongo(hello)}/?appName=a`
      process.env.MONGODB_URI = uri
      const mongo = await startMongo()
      expect(mongo).toMatchObject({ kind: 'uri', uri })
      await mongo.stop()
    },
  )

  it('is told in one line, without the password', async () => {
    const address = await listenAsMongo({ setName: 'rs0' })
    process.env.MONGODB_URI = `mongodb://me:secret@${address}/?authMechanism=PLAIN`
    await startMongo()
    expect(line).toHaveBeenCalledTimes(1)
    expect(line).toHaveBeenCalledWith(
      `MongoDB for tests: uri (by MONGODB_URI), mongodb://…@${address}/?authMechanism=PLAIN`,
    )
  })

  it('is no server without transactions: what to do is said, without the password', async () => {
    const address = await listenAsMongo({})
    process.env.MONGODB_URI = `mongodb://me:secret@${address}/?authMechanism=PLAIN`
    const error = (await startMongo().catch((reason) => reason)) as Error
    expect(error).toBeInstanceOf(Error)
    expect(error.message).toMatch(/^mongodb:\/\/…@.* `mongod --replSet rs0`, .* `rs\.initiate\(\)`/)
    expect(error.message).not.toContain('\n')
    expect(error.message).not.toContain('secret')
  })

  it('is the embedded server at once where the download is refused', async () => {
    process.env.MONGOMS_DOWNLOAD_MIRROR = 'http://127.0.0.1:1'
    const start = performance.now()
    const mongo = await startMongo()
    expect(mongo.kind).toBe('embedded')
    expect(performance.now() - start).toBeLessThan(2000)
    await mongo.stop()
  })

  it('is the embedded server where a download breaks off', async () => {
    process.env.MONGOMS_USE_HTTP = 'true'
    process.env.MONGOMS_DOWNLOAD_DIR = await mkdtemp(join(tmpdir(), 'door-'))
    process.env.MONGOMS_DOWNLOAD_MIRROR = await listen(
      createServer(({ method }, response) => response.writeHead(method === 'HEAD' ? 200 : 404).end()),
    )
    const mongo = await startMongo()
    expect(mongo.kind).toBe('embedded')
    expect(line).toHaveBeenLastCalledWith(expect.stringContaining('the download of mongod failed'))
    await mongo.stop()
    await rm(process.env.MONGOMS_DOWNLOAD_DIR, { recursive: true })
  })

  it('is what TEST_MONGO forces, whatever else is there', async () => {
    process.env.MONGODB_URI = 'mongodb://example.test/'
    process.env.TEST_MONGO = 'embedded'
    const mongo = await startMongo()
    expect(mongo.kind).toBe('embedded')
    await mongo.stop()
  })

  it('is an error when the forced one does not start', async () => {
    process.env.TEST_MONGO = 'uri'
    await expect(startMongo()).rejects.toThrow('TEST_MONGO=uri needs MONGODB_URI')
    process.env.TEST_MONGO = 'memory-server'
    process.env.MONGOMS_SYSTEM_BINARY = '/nonexistent/mongod'
    await expect(startMongo()).rejects.toThrow('/nonexistent/mongod')
  })

  it('is an error when MONGOMS_SYSTEM_BINARY names nothing', async () => {
    process.env.MONGOMS_SYSTEM_BINARY = '/nonexistent/mongod'
    await expect(startMongo()).rejects.toThrow('/nonexistent/mongod')
  })

  it('is an error when TEST_MONGO is unknown', async () => {
    process.env.TEST_MONGO = 'postgres'
    await expect(startMongo()).rejects.toThrow("TEST_MONGO must be one of uri, memory-server, embedded, got 'postgres'")
  })
})

describe('a download', () => {
  it('is tried where the mirror has the archive', async () => {
    const asked: (string | undefined)[] = []
    process.env.MONGOMS_DOWNLOAD_MIRROR = await listen(
      createServer(({ method, url }, response) => {
        asked.push(method, url)
        response.end()
      }),
    )
    expect(await isDownloadable()).toBe(true)
    expect(asked).toEqual(['HEAD', expect.stringMatching(/mongodb-.*8\.0\.999/)])
  })

  it('is not tried where the mirror answers 403', async () => {
    process.env.MONGOMS_DOWNLOAD_MIRROR = await listen(createServer((_, response) => response.writeHead(403).end()))
    expect(await isDownloadable()).toBe(false)
  })

  it('is not waited for where nothing answers', async () => {
    process.env.MONGOMS_DOWNLOAD_MIRROR = await listen(createTcpServer())
    const start = performance.now()
    expect(await isDownloadable(100)).toBe(false)
    expect(performance.now() - start).toBeLessThan(1500)
  })

  it('is not tried through a proxy that refuses the host', async () => {
    const asked: (string | undefined)[] = []
    const proxy = createServer().on('connect', ({ url }, socket) => {
      asked.push(url)
      socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
    })
    process.env.https_proxy = await listen(proxy)
    process.env.MONGOMS_DOWNLOAD_MIRROR = 'https://mirror.test'
    expect(await isDownloadable()).toBe(false)
    expect(asked).toEqual(['mirror.test:443'])
  })

  it('is not tried where mongodb-memory-server is told not to', async () => {
    process.env.MONGOMS_RUNTIME_DOWNLOAD = 'false'
    process.env.MONGOMS_DOWNLOAD_MIRROR = await listen(createServer((_, response) => response.end()))
    expect(await isDownloadable()).toBe(false)
  })
})
