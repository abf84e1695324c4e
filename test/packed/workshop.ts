import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { startKmsForPrograms } from '../docs/kms'
import { startMongo } from '../mongo'
import { databaseName, dropDatabases, run } from '../mongo/run'

export const root: string = resolve(__dirname, '../..')

/** A command that hangs fails. */
const timeout = 5 * 60_000

export interface Command {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
}

/** What a command of ours, or the npm that runs us, would tell a project that is to be as if it stood alone. */
const ours =
  /^(NODE_ENV|NODE_OPTIONS|INIT_CWD|TEST_MONGO.*|JEST_.*|npm_(package|lifecycle)_.*|npm_config_local_prefix)$/

/** A folder of projects outside of the repository, with a MongoDB and a KMS for what runs in them. */
export class Workshop {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'mongoose-kms-encrypted-packed-'))
  readonly #inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.test(name)))
  #env: Record<string, string> = {}
  #mongo: Awaited<ReturnType<typeof startMongo>> | undefined
  #kms: Awaited<ReturnType<typeof startKmsForPrograms>> | undefined

  async open(): Promise<void> {
    this.#mongo = await startMongo()
    this.#kms = await startKmsForPrograms()
    this.#env = { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true', ...this.#kms.env }
  }

  async close(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true })
    await this.#kms?.kms.stop()
    if (this.#mongo?.kind === 'uri') await dropDatabases(this.#mongo.uri, run)
    await this.#mongo?.stop()
  }

  /** The URI of a server, with a new database in it. */
  #uri(): string {
    const { uri } = this.#mongo as { uri: string }
    return uri.replace(/(?<=:\/\/[^/?]+)(\/[^?]*)?(?=\?|$)/, `/${databaseName('packed')}`)
  }

  /**
   * A new project.
   *
   * @param name of the check that it is for, or a path below that
   * @param from a folder that it is a copy of
   */
  project(name: string, from?: string, files: Readonly<Record<string, string>> = {}): string {
    const folder = join(this.folder, name)
    mkdirSync(folder, { recursive: true })
    const isOfItself = (path: string) => !/\/(node_modules|dist|package-lock\.json)$/.test(path)
    if (from) cpSync(from, folder, { recursive: true, filter: isOfItself })
    for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text)
    return folder
  }

  /**
   * @returns what it wrote to stdout
   * @throws {Error} with all that it wrote, when it does not end well
   */
  async run(command: string, args: readonly string[], { cwd = this.folder, env }: Command = {}): Promise<string> {
    const child = spawn(command, args, {
      cwd,
      env: { ...this.#inherited, ...this.#env, MONGODB_URI: this.#uri(), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout,
    })
    let stdout = ''
    let all = ''
    child.stdout.on('data', (chunk) => {
      stdout += chunk
      all += chunk
    })
    child.stderr.on('data', (chunk) => {
      all += chunk
    })
    const [code, signal] = await once(child, 'close')
    if (code === 0) return stdout
    throw new Error(`${[command, ...args].join(' ')}: ended with ${signal ?? code}\n${all}`)
  }
}
