// Runs one example by its name, or tells their names:
//
//     npm run example two-keys
import { join } from 'node:path'

const examples = ['quickstart', 'on-load', 'two-keys', 'audit-log', 'tenants', 'notes']
const name = process.argv[2] ?? ''

if (examples.includes(name)) void import(join(__dirname, `${name}.ts`))
else {
  console.error(
    `Usage: npm run example <name>, one of ${examples.join(', ')}. The application: npx jest examples/application`,
  )
  process.exitCode = 1
}
