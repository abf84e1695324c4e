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

const settings = { autoIndex: false, autoCreate: false }
const contact = () => ({ label: String, phone: String })

/** A model of its own, and a model of a record with subdocuments, of which another is a discriminator. */
const shapes = {
  alone(isEncrypted: boolean) {
    const schema = new mongoose.Schema<any>({ name: String, ...(isEncrypted ? {} : definition()) }, settings)
    if (isEncrypted) schema.plugin(kmsEncrypted as any, { provider, fields: definition() })
    const name = `Alone${++made}`
    connection.model(name, schema, 'same')
    return [name]
  },
  family(isEncrypted: boolean) {
    const encrypt = (schema: any, fields: object, options: object = { provider }) =>
      isEncrypted ? schema.plugin(kmsEncrypted as any, { ...options, fields }) : schema.add(fields)
    const { phone, ...clear } = contact()
    const contacts = encrypt(new mongoose.Schema<any>(clear), { phone })
    const notes = encrypt(new mongoose.Schema<any>({ at: Date }), { text: String }, { dataKey: 'owner' })
    const base = new mongoose.Schema<any>({ name: String, contacts: [contacts], notes: [notes] }, settings)
    encrypt(base, { email: String })
    encrypt(base, { account: String }, { provider, name: 'second' })
    const child = encrypt(new mongoose.Schema<any>({ level: Number }), { pin: Number }, { provider, name: 'child' })
    const [name, own] = [`Base${++made}`, `Child${made}`]
    connection.model<any>(name, base, 'same').discriminator(own, child)
    return [own, name]
  },
}

function compile(shape: keyof typeof shapes, isEncrypted: boolean): void {
  for (const name of shapes[shape](isEncrypted)) connection.deleteModel(name)
}

async function heap(): Promise<number> {
  for (let i = 0; i < 5; i++) {
    await new Promise((resume) => setImmediate(resume))
    global.gc!()
  }
  return process.memoryUsage().heapUsed
}

async function growth(shape: keyof typeof shapes, isEncrypted: boolean, count: number): Promise<number> {
  const before = await heap()
  for (let i = 0; i < count; i++) compile(shape, isEncrypted)
  return ((await heap()) - before) / count
}

/** The middle one of three, for the heap of a process is never quite still. */
async function measured(shape: keyof typeof shapes, isEncrypted: boolean): Promise<number> {
  const found = []
  for (let i = 0; i < 3; i++) found.push(await growth(shape, isEncrypted, 100))
  return found.sort((a, b) => a - b)[1] as number
}

async function main() {
  const result: Record<string, { plain: number; encrypted: number }> = {}
  for (const shape of Object.keys(shapes) as (keyof typeof shapes)[]) {
    // What is made once is made before anything is measured.
    for (const isEncrypted of [false, true]) await growth(shape, isEncrypted, 50)
    result[shape] = { plain: await measured(shape, false), encrypted: await measured(shape, true) }
  }
  console.log(JSON.stringify(result))
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error)
    process.exit(1)
  },
)
