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
  const grown: Record<string, { plain: number; encrypted: number }> = JSON.parse(stdout.trim().split('\n').at(-1)!)
  expect(Object.keys(grown)).toEqual(['alone', 'family'])
  for (const [shape, { plain, encrypted }] of Object.entries(grown)) {
    expect(plain).toBeGreaterThan(-2 * 1024)
    // The heap of a process is unquiet by less; a model that is kept takes a multiple of it.
    expect({ shape, tooMuch: Math.max(0, encrypted - 2 * Math.max(plain, 0) - 2 * 1024) }).toEqual({
      shape,
      tooMuch: 0,
    })
  }
}, 150_000)

/** What is asked of an object while an act runs, by whoever looks a property up or goes through them all. */
function lookedUpIn(target: any, property: string, act: () => void): number {
  const looked = target[property]
  let count = 0
  const counting = (trap: 'get' | 'has' | 'ownKeys' | 'getOwnPropertyDescriptor') =>
    function counted(...args: [any]) {
      count++
      return (Reflect[trap] as (...given: unknown[]) => any)(...args)
    }
  target[property] = new Proxy(looked, {
    get: counting('get'),
    has: counting('has'),
    ownKeys: counting('ownKeys'),
    getOwnPropertyDescriptor: counting('getOwnPropertyDescriptor'),
  })
  try {
    act()
  } finally {
    target[property] = looked
  }
  return count
}

/** How often methods of the schemas that are kept are called while an act runs, and how often models are looked up. */
function callsDuring(kept: ReadonlySet<Schema<any>>, act: () => void): { calls: number; lookups: number } {
  let calls = 0
  const prototype = mongoose.Schema.prototype as any
  const names = Object.getOwnPropertyNames(prototype).filter(
    (name) => name !== 'constructor' && typeof Object.getOwnPropertyDescriptor(prototype, name)!.value === 'function',
  )
  const spies = names.map((name) => {
    const original = prototype[name]
    return jest.spyOn(prototype, name).mockImplementation(function counted(this: any, ...args: unknown[]) {
      if (kept.has(this)) calls++
      return original.apply(this, args)
    })
  })
  try {
    const lookups = lookedUpIn(connection, 'models', () => act())
    return { calls, lookups }
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}

test.each<[string, boolean]>([
  ['with encrypted fields', true],
  ['in the clear, beside them', false],
])('fault 45: compiling a model asks nothing of the models that are there already: %s', (_name, encrypted) => {
  const kept = new Set<Schema<any>>()
  const compile = (isEncrypted: boolean, keep: boolean) => {
    const contact = isEncrypted ? contactSchema() : new Schema<any>({ label: String })
    const schema = new Schema<any>({ name: String, contacts: [contact] }, { autoCreate: false, autoIndex: false })
    if (isEncrypted) schema.plugin(plugin, { provider, fields: { email: String, tags: [String] } })
    const Model = connection.model<any>(named('Kept'), schema, 'kept')
    if (keep) for (const each of [schema, Model.schema]) kept.add(each as Schema<any>)
  }
  for (let i = 0; i < 5; i++) compile(true, true)
  const few = callsDuring(kept, () => compile(encrypted, false))
  for (let i = 0; i < 100; i++) compile(true, true)
  const many = callsDuring(kept, () => compile(encrypted, false))
  expect(many).toEqual(few)
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
