import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import mongoose, { Schema } from 'mongoose'
import { contactSchema, named, plugin, provider, useFaults } from './support'

const { connection } = useFaults()
const root = join(__dirname, '../..')

test('fault 45: a model that is compiled and deleted leaves at most twice what a plain one leaves', async () => {
  const program = ['--expose-gc', '--import', 'tsx', join(__dirname, 'growing.ts')]
  const { stdout } = await promisify(execFile)(process.execPath, program, { cwd: root, timeout: 120_000 })
  const { plain, encrypted } = JSON.parse(stdout.trim().split('\n').at(-1)!)
  expect(plain).toBeGreaterThan(-20_000)
  // Generous: the heap of a process is never quite still.
  expect(encrypted).toBeLessThan(2 * Math.max(plain, 0) + 8 * 1024)
}, 150_000)

/** How often methods of the schemas that are kept are called while an act runs. */
function callsDuring(kept: Schema<any>[], act: () => void): number {
  let calls = 0
  const prototype = mongoose.Schema.prototype as any
  const spies = [
    'path',
    'eachPath',
    'pathType',
    'virtualpath',
    'clone',
    'plugin',
    'indexes',
    'on',
    'add',
    'set',
    'get',
  ].map((name) => {
    const original = prototype[name]
    return jest.spyOn(prototype, name).mockImplementation(function counted(this: any, ...args: unknown[]) {
      if (kept.includes(this)) calls++
      return original.apply(this, args)
    })
  })
  try {
    act()
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
  return calls
}

test('fault 45: compiling a model asks nothing of the models that are there already', () => {
  const kept: Schema<any>[] = []
  const compile = (keep: boolean) => {
    const schema = new Schema<any>(
      { name: String, contacts: [contactSchema()] },
      { autoCreate: false, autoIndex: false },
    )
    schema.plugin(plugin, { provider, fields: { email: String, tags: [String] } })
    const Model = connection.model<any>(named('Kept'), schema, 'kept')
    if (keep) kept.push(schema, Model.schema as any)
  }
  for (let i = 0; i < 5; i++) compile(true)
  const few = callsDuring([...kept], () => compile(false))
  for (let i = 0; i < 100; i++) compile(true)
  const many = callsDuring([...kept], () => compile(false))
  expect(many).toBe(few)
})

test('fault 45: models that are made leave no listeners, hooks or plugins behind at what they share', () => {
  const shared = () => ({
    process: process.eventNames().map((name) => [name, process.listenerCount(name)]),
    connection: connection.eventNames().map((name) => [String(name), connection.listenerCount(name)]),
    plugins: (mongoose as any).plugins.length,
    connectionPlugins: (connection as any).plugins?.length,
    model: mongoose.Model.eventNames?.().length,
  })
  const compile = () => {
    const name = named('Gone')
    const settings = { autoCreate: false, autoIndex: false }
    connection.model<any>(name, new Schema<any>({}, settings).plugin(plugin, { provider, fields: ['email'] }), 'gone')
    connection.deleteModel(name)
  }
  compile()
  const before = shared()
  for (let i = 0; i < 50; i++) compile()
  expect(shared()).toEqual(before)
})
