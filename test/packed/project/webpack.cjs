const webpack = require('webpack')

const [entry, path] = process.argv.slice(2)
const output = { path, filename: 'webpack.cjs' }
// It is esbuild that minifies: here that would take most of the time.
const optimization = { minimize: false }
// What the driver uses only where it is installed is told as a warning.
webpack({ mode: 'production', target: 'node', entry, output, optimization }, (error, stats) => {
  if (!error && !stats.hasErrors()) return
  console.error(error ?? stats.toString({ all: false, errors: true }))
  process.exitCode = 1
})
