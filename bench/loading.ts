import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { outcomeOf } from './goal'
import type { Part } from './part'
import { cell } from './report'

interface Loading {
  readonly mongooseMs: number
  readonly libraryMs: number
  readonly modelMs: number
}

/** In a process of its own: nothing else is loaded, and no TypeScript. */
const program = `
const start = performance.now()
const { model, Schema } = require('mongoose')
model('Plain', new Schema({ email: String }))
const loaded = performance.now()
const { kmsEncrypted } = require(process.argv[1])
const required = performance.now()
const keyId = 'arn:aws:kms:eu-central-1:111122223333:key/0f0e0d0c-0b0a-4908-8706-050403020100'
model('Encrypted', new Schema({}).plugin(kmsEncrypted, { keyId, fields: { email: String } }))
const made = performance.now()
console.log(JSON.stringify({ mongooseMs: loaded - start, libraryMs: required - loaded, modelMs: made - required }))
`

export const loading: Part = {
  title: 'Loading',
  async run({ rounds }) {
    const measured: Loading[] = []
    for (let round = 0; round <= rounds; round++) {
      const args = ['-e', program, join(__dirname, '../dist/index.js')]
      const loading: Loading = JSON.parse(execFileSync(process.execPath, args, { cwd: __dirname, encoding: 'utf8' }))
      // The first finds no file in the memory of the operating system.
      if (round > 0) measured.push(loading)
    }
    const beyond = measured.map(({ libraryMs, modelMs }) => libraryMs + modelMs)
    return {
      goals: [
        outcomeOf(
          { what: 'ms of `require` and a first model, beyond Mongoose and before a call to KMS', limit: 15 },
          beyond,
        ),
      ],
      tables: [
        {
          head: ['', 'time'],
          rows: [
            [
              'Mongoose with a plain model',
              cell(
                measured.map(({ mongooseMs }) => mongooseMs),
                'ms',
              ),
            ],
            [
              '`require` of this library',
              cell(
                measured.map(({ libraryMs }) => libraryMs),
                'ms',
              ),
            ],
            [
              'an encrypted model with `awsKms`',
              cell(
                measured.map(({ modelMs }) => modelMs),
                'ms',
              ),
            ],
          ],
        },
      ],
    }
  },
}
