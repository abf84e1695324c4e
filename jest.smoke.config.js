const base = require('./jest.config.js')
module.exports = { ...base, rootDir: '/work/main', moduleNameMapper: { ...base.moduleNameMapper, '^.*/queries/(filter|pipeline|projection|arrayfilters)$': '/tmp/stubs/q.js' } }
