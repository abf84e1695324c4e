// MONGOOSE=8 runs the whole suite against the other supported major version.
const mongoose = process.env.MONGOOSE === '8' ? 'mongoose-8' : 'mongoose'

/** @type {import('jest').Config} */
module.exports = {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/**/*.test.ts', '<rootDir>/examples/**/*.test.ts'],
  transform: { '^.+\\.ts$': ['@swc/jest', { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } }] },
  moduleNameMapper: {
    '^mongoose$': `<rootDir>/node_modules/${mongoose}`,
    '^mongoose-kms-encrypted$': '<rootDir>/lib/index.ts',
  },
  globalSetup: '<rootDir>/test/mongo/setup.ts',
  globalTeardown: '<rootDir>/test/mongo/teardown.ts',
  testTimeout: 30_000,
}
