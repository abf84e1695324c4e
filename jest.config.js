// MONGOOSE=8 runs the suite against the other supported major version, MONGOOSE=8.17 and MONGOOSE=9.4 against
// the earliest supported ones.
const mongoose = process.env.MONGOOSE ? `mongoose-${process.env.MONGOOSE}` : 'mongoose'

// The SDK says in every process that it will end its support of Node 20 some day.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true'

// What is the same on every version of Mongoose, and what takes long, is run on one.
const onceAlone = [
  '/test/(trail|kms|mongo)/',
  '/test/(bench|house)\\.test',
  '/test/docs/(examples|format|frameworks|links|reading|refusing)\\.test',
  '/test/cli/(audit|page|pipe|stopping|terminal|words)\\.test',
  '/test/lifecycle/killed\\.test',
  '/test/fuzz/mutants\\.test',
]

// Nor need the earliest version run what the pages show, what lasts, and what stands on the gate without knowing Mongoose's insides.
const notOnEarliest = ['/test/docs/', '/test/cli/', '/test/operations/company\\.test', '/test/(lifecycle|search)/']
const left = { 8: onceAlone, 8.17: [...onceAlone, ...notOnEarliest] }

/** @type {import('jest').Config} */
module.exports = {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/**/*.test.ts', '<rootDir>/examples/application/*.test.ts'],
  testPathIgnorePatterns: ['/node_modules/', ...(left[process.env.MONGOOSE] ?? [])],
  transform: { '^.+\\.ts$': ['@swc/jest', { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } }] },
  moduleNameMapper: {
    '^mongoose$': `<rootDir>/node_modules/${mongoose}`,
    '^mongoose-kms-encrypted$': '<rootDir>/lib/index.ts',
  },
  globalSetup: '<rootDir>/test/mongo/setup.ts',
  globalTeardown: '<rootDir>/test/mongo/teardown.ts',
  testTimeout: 30_000,
  // Jest would leave one core to itself: on two, a single process would run all suites, and the server besides.
  maxWorkers: '100%',
}
