import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type IPty, spawn as spawnTerminal } from '@lydell/node-pty'
import { Terminal } from '@xterm/headless'
import mongoose, { Schema } from 'mongoose'
import { awsKms, kmsEncrypted } from '../../lib'
import { startKmsForPrograms } from '../docs/kms'
import { root } from '../docs/page'
import type { KmsStandIn } from '../kms'
import { MongoProxy } from '../mongo/proxy'
import { databaseName } from '../mongo/run'
import { mongooseName } from '../mongooseName'

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** A project of a user's: his models, the package as it is published, and the Mongoose of the test run. */
class Application {
  readonly folder = mkdtempSync(join(tmpdir(), 'mongoose-kms-encrypted-'))
  readonly #package = join(this.folder, 'node_modules', manifest.name)

  constructor() {
    cpSync(join(__dirname, 'application'), this.folder, { recursive: true })
    mkdirSync(this.#package, { recursive: true })
    cpSync(join(root, 'package.json'), join(this.#package, 'package.json'))
    const compiler = join(root, 'node_modules/typescript/bin/tsc')
    const fast = ['--noCheck', '--declaration', 'false']
    execFileSync(process.execPath, [compiler, '-p', root, ...fast, '--outDir', join(this.#package, 'dist')])
    this.#link('mongoose', mongooseName)
    for (const name of [...Object.keys(manifest.dependencies), 'tsx']) this.#link(name, name)
  }

  /** What `npx mongoose-kms-encrypted` runs. */
  get program(): string {
    return join(this.#package, manifest.bin[manifest.name])
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }

  #link(name: string, to: string): void {
    const path = join(this.folder, 'node_modules', name)
    mkdirSync(join(path, '..'), { recursive: true })
    symlinkSync(join(root, 'node_modules', to), path)
  }
}

export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** The lines of stdout, where they are JSON. */
  readonly lines: any[]
}

/** A command that runs in pipes. */
export class Running {
  readonly child: ChildProcess
  readonly ended: Promise<Outcome>
  stdout = ''
  stderr = ''

  constructor(child: ChildProcess) {
    this.child = child
    child.stdin?.end()
    child.stdout?.on('data', (chunk) => {
      this.stdout += chunk
    })
    child.stderr?.on('data', (chunk) => {
      this.stderr += chunk
    })
    this.ended = once(child, 'close').then(([code]) => {
      const { stdout, stderr } = this
      const texts = stdout.split('\n').filter((line) => line.startsWith('{'))
      return { code, stdout, stderr, lines: texts.map((line) => JSON.parse(line)) }
    })
  }

  /** Waits until it has written this. */
  async hasWritten(text: string): Promise<void> {
    while (!(this.stdout + this.stderr).includes(text)) {
      const [chunk] = await Promise.race([
        once(this.child.stdout!, 'data'),
        once(this.child.stderr!, 'data'),
        once(this.child, 'close').then(() => [undefined]),
      ])
      if (chunk === undefined && !(this.stdout + this.stderr).includes(text))
        throw new Error(`It has ended without "${text}":\n${this.stdout}\n${this.stderr}`)
    }
  }
}

/** A command that runs in a terminal. */
export class Screen {
  readonly ended: Promise<number>
  readonly #terminal = new Terminal({ cols: 120, rows: 40, allowProposedApi: true })
  readonly #pty: IPty
  readonly #waiting = new Set<() => void>()
  #hasEnded = false

  constructor(pty: IPty) {
    this.#pty = pty
    pty.onData((data) => this.#terminal.write(data, () => this.#look()))
    this.ended = new Promise((resolve) => {
      pty.onExit(({ exitCode }) =>
        this.#terminal.write('', () => {
          this.#hasEnded = true
          this.#look()
          resolve(exitCode)
        }),
      )
    })
  }

  /** What is to be seen, line by line. */
  get text(): string {
    const { active } = this.#terminal.buffer
    const lines = Array.from({ length: active.length }, (_, row) => active.getLine(row)?.translateToString(true) ?? '')
    return lines.join('\n').trimEnd()
  }

  /** Waits until this is to be seen. */
  async shows(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.text)) {
      if (this.#hasEnded) throw new Error(`It has ended without ${pattern}:\n${this.text}`)
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  kill(signal: string): void {
    this.#pty.kill(signal)
  }

  /** Types keys. */
  type(keys: string): void {
    this.#pty.write(keys)
  }

  #look(): void {
    for (const resolve of this.#waiting) resolve()
    this.#waiting.clear()
  }
}

/** The command line of one test file, with a KMS, and a database behind a proxy that records what is sent. */
export function useProgram() {
  // Each command is a process, and loads Mongoose and the AWS SDK.
  jest.setTimeout(120_000)
  const application = new Application()
  const connection = mongoose.createConnection()
  const proxy = new MongoProxy()
  const database = databaseName('cli')
  let kms: KmsStandIn
  let env: Record<string, string>
  let uri: string
  let User: any
  let Note: any

  beforeAll(async () => {
    const started = await startKmsForPrograms()
    kms = started.kms
    const address = await proxy.start()
    uri = address.replace(/(?<=:\/\/[^/?]+)(\/[^?]*)?(?=\?|$)/, `/${database}`)
    env = { ...started.env, AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' }
    await connection.openUri(process.env.TEST_MONGO_URI as string, { dbName: database, autoIndex: false })
    const options = { provider: awsKms({ client: kms.client() }), keyId: env.KMS_KEY_ID }
    const users = new Schema({ name: String, at: Date }, { timestamps: true })
    User = connection.model('User', users.plugin(kmsEncrypted, { ...options, fields: { email: String, dob: Date } }))
    Note = connection.model(
      'Note',
      new Schema({ title: String }).plugin(kmsEncrypted, { ...options, fields: ['text'] }),
    )
  })
  afterEach(async () => {
    await connection.dropDatabase()
    kms.clearCalls()
    proxy.clearCommands()
  })
  afterAll(async () => {
    await connection.dropDatabase()
    await connection.close()
    await proxy.stop()
    await kms.stop()
    application.remove()
  })

  const surroundings = (more: Record<string, string>) => {
    const { NODE_ENV: _, NODE_OPTIONS: __, ...inherited } = process.env
    return {
      cwd: application.folder,
      env: { ...inherited, ...env, MONGODB_URI: uri, ...more } as Record<string, string>,
    }
  }
  const models = ['--require', './models.cjs']

  return {
    application,
    /** Runs a command in pipes. */
    start(args: readonly string[], more: Record<string, string> = {}): Running {
      return this.node([application.program, ...args], more)
    },
    /** Runs any program of the project. */
    node(args: readonly string[], more: Record<string, string> = {}): Running {
      return new Running(spawn(process.execPath, args, surroundings(more)))
    },
    run(args: readonly string[], more: Record<string, string> = {}): Promise<Outcome> {
      return this.start(args, more).ended
    },
    /** Runs a command in a terminal. */
    open(args: readonly string[], more: Record<string, string> = {}): Screen {
      const { cwd, env: all } = surroundings(more)
      const size = { cols: 120, rows: 40, name: 'xterm' }
      return new Screen(spawnTerminal(process.execPath, [application.program, ...args], { ...size, cwd, env: all }))
    },
    /** Runs a line of a shell. */
    shell(line: string): Running {
      return new Running(spawn('/bin/sh', ['-c', line], surroundings({})))
    },
    models,
    proxy,
    /** Host and port that the commands are given. */
    get host() {
      return new URL(uri).host
    },
    get kms() {
      return kms
    },
    get uri() {
      return uri
    },
    get User() {
      return User
    },
    get Note() {
      return Note
    },
    /** Stores users, in the order of their `_id`. */
    async users(count: number, paths: (index: number) => object = () => ({})): Promise<any[]> {
      const made = Array.from({ length: count }, (_, index) => ({
        ...{ name: `n${index}`, email: emailOf(index), ...paths(index) },
      }))
      const stored = await User.insertMany(made)
      kms.clearCalls()
      return stored
    },
    raw: (collection = 'users') =>
      connection.db!.collection(collection).find().sort({ _id: 1 }).toArray() as Promise<any[]>,
    collection: (name = 'users') => connection.db!.collection(name),
    collections: async () => (await connection.db!.listCollections().toArray()).map(({ name }) => name).sort(),
    /** The names of the commands that it has sent, each once. */
    sent: () => [...new Set(proxy.commands.map(({ name }) => name))],
  }
}

export const emailOf = (index: number) => `person${index}@example.org`
