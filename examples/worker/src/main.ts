import { createWriteStream } from 'node:fs'
import { userInfo } from 'node:os'
import mongoose from 'mongoose'
import { auditLog } from 'mongoose-kms-encrypted'
import { exportUsers } from './export.js'

// MONGODB_URI=… KMS_KEY_ID=… npm start -- users.csv "case 7"
const [file, reason] = process.argv.slice(2)
if (!file || !reason) throw new Error('Usage: npm start -- <file> <reason>')

const interrupted = new AbortController()
process.once('SIGINT', () => interrupted.abort())

const log = auditLog({ write: createWriteStream('audit.ndjson', { flags: 'a', mode: 0o600 }) })
await mongoose.connect(process.env.MONGODB_URI ?? 'mongodb://127.0.0.1/example')
try {
  const { done, failed } = await exportUsers(file, {
    audit: { actor: userInfo().username, reason },
    onProgress: ({ done, total }) => console.log(`${done} of ${total}`),
    signal: interrupted.signal,
  })
  console.log(`${done - failed} users in ${file}, ${failed} could not be opened`)
  if (failed > 0) process.exitCode = 1
} finally {
  await log.close()
  await mongoose.disconnect()
}
