import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mongooseName } from '../mongooseName'
import { root } from './page'

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/**
 * A folder of programs that see this library and Mongoose by their names, as in a user's project: the sources of the
 * library, and the Mongoose of the test run.
 */
export class Project {
  readonly #folder: string

  constructor() {
    // Not below node_modules: there, tsx resolves no names by tsconfig.json.
    this.#folder = mkdtempSync(join(tmpdir(), 'mongoose-kms-encrypted-'))
    this.write(
      'tsconfig.json',
      JSON.stringify({
        compilerOptions: {
          target: 'ES2022',
          lib: ['ES2022'],
          module: 'nodenext',
          moduleResolution: 'nodenext',
          strict: true,
          noUncheckedIndexedAccess: true,
          skipLibCheck: true,
          noEmit: true,
          types: ['node', 'jest'],
          typeRoots: [join(root, 'node_modules/@types')],
          paths: {
            'mongoose-kms-encrypted': [join(root, 'lib/index.ts')],
            mongoose: [join(root, 'node_modules', mongooseName)],
            'mongodb-memory-server': [join(root, 'node_modules/mongodb-memory-server/index.d.ts')],
          },
        },
        include: ['*.mts'],
      }),
    )
  }

  write(file: string, text: string): void {
    writeFileSync(join(this.#folder, file), text)
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Runs a program of this folder, or a path from the root of the repository. */
  run(file: string, env: Record<string, string> = {}, args: string[] = []): Promise<Outcome> {
    const path = /\.[cm][jt]s$/.test(file) ? join(this.#folder, file) : file
    return this.#spawn(['--import', 'tsx', path, ...args], {
      TSX_TSCONFIG_PATH: join(this.#folder, 'tsconfig.json'),
      ...env,
    })
  }

  /** Type-checks all programs of this folder, and gives the errors that are theirs. */
  async check(): Promise<string[]> {
    const { stdout } = await this.#spawn([join(root, 'node_modules/typescript/bin/tsc'), '-p', this.#folder], {})
    return stdout.split('\n').filter((line) => /^\S.*\berror TS\d+/.test(line) && !line.startsWith('lib/'))
  }

  async #spawn(args: string[], env: Record<string, string>): Promise<Outcome> {
    const { NODE_ENV: _, NODE_OPTIONS: __, ...inherited } = process.env
    const child = spawn(process.execPath, args, { cwd: root, env: { ...inherited, ...env } })
    child.stdin.end()
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk) => {
      stdout += chunk
    })
    child.stderr.on('data', (chunk) => {
      stderr += chunk
    })
    const [code] = await once(child, 'close')
    return { code, stdout, stderr }
  }
}
