/**
 * What is left of models that were compiled and deleted, in bytes for each, printed as JSON. A program of its own, for it
 * needs `--expose-gc` and a heap that nobody else uses: `node --expose-gc --import tsx test/faults/growing.ts`, with
 * MONGOOSE for another version.
 */
import { kmsEncrypted, localKms } from '../../lib'
import { mongooseName } from '../mongooseName'

const mongoose = require(mongooseName) as typeof import('mongoose')
const provider = localKms()
const connection = mongoose.createConnection()
let made = 0

const definition = () => ({
  email: { type: String, required: true },
  dob: Date,
  tags: [String],
  address: { city: String },
})

function compile(kind: 'plain' | 'encrypted'): void {
  const name = `${kind}${++made}`
  const schema = new mongoose.Schema<any>(
    { name: String, ...(kind === 'plain' ? definition() : {}) },
    { autoIndex: false, autoCreate: false },
  )
  if (kind === 'encrypted') schema.plugin(kmsEncrypted as any, { provider, fields: definition() })
  connection.model(name, schema, 'same')
  connection.deleteModel(name)
}

async function heap(): Promise<number> {
  for (let i = 0; i < 5; i++) {
    await new Promise((resume) => setImmediate(resume))
    global.gc!()
  }
  return process.memoryUsage().heapUsed
}

async function growth(kind: 'plain' | 'encrypted', count: number): Promise<number> {
  const before = await heap()
  for (let i = 0; i < count; i++) compile(kind)
  return ((await heap()) - before) / count
}

async function main() {
  // What is made once is made before anything is measured.
  for (const kind of ['plain', 'encrypted'] as const) await growth(kind, 50)
  const result = { plain: await growth('plain', 200), encrypted: await growth('encrypted', 200) }
  console.log(JSON.stringify(result))
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error)
    process.exit(1)
  },
)
