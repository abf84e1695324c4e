import { Schema } from 'mongoose'
import { type KeyProvider, kmsEncrypted, localKms } from '../lib'
import { build, refusal } from './refusals'

type Options = Record<string, any>

const provider = localKms()
const uncalled = localKms as unknown as KeyProvider
const { generateDataKey, unwrapDataKey } = provider

test('options that are as they should be are accepted', () => {
  build({})
  build({ fields: ['email', 'phone'] })
  build({ fields: { email: { type: String, index: false, unique: false } } })
  build({ keyId: () => 'alias/tenant', context: () => ({ Tenant: 'x' }), decrypt: 'onLoad', name: 'second' })
  build({ version: 3, previousVersions: { 1: { keyId: 'alias/first' }, 2: { context: () => ({ Old: 'x' }) } } })
  build({ keyPath: 'key', cache: { maxAgeMs: 1, maxEntries: 1 } })
  build({ provider: undefined, keyId: 'alias/app' })
  build({ deduplicate: true, tags: ['x'] })
})

describe('options that the plugin refuses when the schema is built', () => {
  const cases: [name: string, options: Options, message: RegExp][] = [
    ['an option that does not exist', { feilds: {} }, /feilds: There is no such option\. Use one of keyId, provider/],
    ['a name with a dot', { name: 'a.b' }, /name: Expected letters, digits and underscores/],
    ['an empty name', { name: '' }, /name: Expected letters/],
    ['a name that is no string', { name: null }, /name: Expected letters/],
    ['a mode that does not exist', { decrypt: 'always' }, /decrypt: Expected 'onAccess' or 'onLoad', got always/],
    ['version 0', { version: 0 }, /version: Expected a positive integer, got 0/],
    ['a version as text', { version: '2' }, /version: Expected a positive integer, got 2/],
    ['a fraction of a version', { version: 1.5 }, /version: Expected a positive integer, got 1\.5/],
    ['a version beyond 31 bits', { version: 2 ** 31 }, /version: Expected a positive integer/],
    ['previous versions that are no object', { previousVersions: 1 }, /previousVersions: Expected an object such as/],
    ['previous version 0', { previousVersions: { 0: {} } }, /previousVersions\.0: Expected a positive integer, got 0/],
    [
      'a previous version by name',
      { version: 2, previousVersions: { old: {} } },
      /previousVersions\.old: Expected a po/,
    ],
    ['the current version as a previous one', { previousVersions: { 1: {} } }, /previousVersions\.1: .*Raise version/],
    [
      'a previous version that is null',
      { version: 2, previousVersions: { 1: null } },
      /previousVersions\.1: Expected an/,
    ],
    [
      'a previous version by its key',
      { version: 2, previousVersions: { 1: 'x' } },
      /previousVersions\.1: Expected an ob/,
    ],
    [
      'an option of a previous version that does not exist',
      { version: 2, previousVersions: { 1: { keyID: 'x' } } },
      /previousVersions\.1\.keyID: There is no such option\. Use one of keyId, context/,
    ],
    [
      'a cache without bounds',
      { cache: {} },
      /cache\.maxAgeMs: Expected a positive integer, at most 2147483647: \{ maxAgeMs/,
    ],
    [
      'a cache for longer than timers run',
      { cache: { maxAgeMs: 2 ** 31, maxEntries: 1 } },
      /cache\.maxAgeMs: Expected/,
    ],
    [
      'a provider with a deadline beyond that',
      { provider: { ...localKms(), timeoutMs: 2 ** 31 } },
      /timeoutMs must be/,
    ],
    [
      'a method then',
      { methods: { decrypt: 'then' } },
      /methods\.decrypt: Documents or models of Mongoose have a then already/,
    ],
    ['a method of documents', { methods: { rotateKmsKey: 'save' } }, /have a save already/],
    ['a static of models', { methods: { decrypt: 'find' } }, /have a find already/],
    ['one name for both methods', { methods: { decrypt: 'open', rotateKmsKey: 'open' } }, /would have the name open/],
    ['a cache by true', { cache: true }, /cache\.maxAgeMs: Expected/],
    ['a cache by null', { cache: null }, /cache\.maxAgeMs: Expected/],
    ['a cache without an age', { cache: { maxEntries: 1 } }, /cache\.maxAgeMs: Expected/],
    ['a cache for no time', { cache: { maxAgeMs: 0, maxEntries: 1 } }, /cache\.maxAgeMs: Expected/],
    ['a cache without end', { cache: { maxAgeMs: 1, maxEntries: Infinity } }, /cache\.maxEntries: Expected/],
    ['a provider that was not called', { provider: uncalled }, /provider: .*Did you pass the function uncalled/],
    ['a provider that cannot unwrap', { provider: { generateDataKey } }, /provider: Expected a KeyProvider, such as/],
    ['a provider that cannot generate', { provider: { unwrapDataKey } }, /provider: Expected a KeyProvider, such as/],
    ['a provider that is null', { provider: null }, /provider: Expected a KeyProvider/],
    [
      'a provider that allows no calls',
      { provider: { ...provider, concurrency: 0 } },
      /provider: Its concurrency must be a positive integer, at most 2147483647, got 0/,
    ],
    ['a key path with a dot', { keyPath: 'a.b' }, /keyPath: Expected a top-level path without dots.*got "a\.b"/],
    ['a key path with a dollar', { keyPath: '$key' }, /keyPath: Expected a top-level path.*got "\$key"/],
    ['an empty key path', { keyPath: '' }, /keyPath: Expected a top-level path/],
    ['a key path that is no string', { keyPath: 5 }, /keyPath: Expected a top-level path.*got number/],
    ['a key path that is a path', { keyPath: 'name' }, /keyPath: The schema already has a path name/],
    ['a key path that is a field', { keyPath: 'email' }, /The path email is already taken\. Choose another/],
    ['a key path that documents have', { keyPath: 'isNew' }, /The path isNew is already taken\. Choose another/],
    ['a ciphertext path of its own', { ciphertextPath: () => 'x' }, /ciphertextPath: There is no such option/],
  ]
  test.each(cases)('%s', (_name, options, message) => {
    const error = refusal(() => build(options))
    expect(error.code).toBe('OPTION_INVALID')
    expect(error.message).toMatch(message)
  })

  test.each([undefined, null, 'email'])('%s instead of options', (options) => {
    const error = refusal(() => new Schema({}).plugin(kmsEncrypted as any, options as never))
    expect(error.code).toBe('OPTION_INVALID')
    expect(error.message).toContain('schema.plugin(kmsEncrypted, { keyId, fields: { email: String } })')
  })

  test('what is no schema', () => {
    const error = refusal(() => (kmsEncrypted as any)({}, { provider, fields: ['email'] }))
    expect(error.code).toBe('OPTION_INVALID')
    expect(error.message).toContain('schema.plugin(kmsEncrypted, {…})')
  })

  test('a second data key without a name', () => {
    const schema = new Schema({})
    build({}, schema)
    const error = refusal(() => build({ fields: ['phone'] }, schema))
    expect(error.code).toBe('OPTION_INVALID')
    expect(error.message).toContain("Give a second data key a name: { name: 'phone' }")
    build({ fields: ['phone'], name: 'phone' }, schema)
  })

  test('a second data key under another name, at the same key path', () => {
    const schema = new Schema({})
    build({ name: 'a', keyPath: 'keys' }, schema)
    const error = refusal(() => build({ fields: ['phone'], name: 'b', keyPath: 'keys' }, schema))
    expect(error.code).toBe('OPTION_INVALID')
    expect(error.message).toMatch(/keyPath: .*keys/)
    build({ fields: ['phone'], name: 'b', keyPath: 'others' }, schema)
  })

  test.each([
    ['a nested path', () => new Schema({ taken: { a: String } })],
    ['a virtual', () => new Schema({}, { virtuals: { taken: { get: () => 1 } } })],
    ['a method', () => new Schema({}, { methods: { taken: () => 1 } })],
  ])('a key path that is %s', (_name, schema) => {
    const error = refusal(() => build({ keyPath: 'taken' }, schema() as Schema<any>))
    expect(error.code).toBe('OPTION_INVALID')
    expect(error.message).toContain('Choose another')
  })
})
