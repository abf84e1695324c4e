import mongoose from 'mongoose'
import { auditLog } from 'mongoose-kms-encrypted'
import { server } from './server'

const log = auditLog({ write: process.stdout })
await mongoose.connect(process.env.MONGODB_URI ?? 'mongodb://127.0.0.1/example')
server.listen(process.env.PORT ?? 4000)
process.once('SIGTERM', () =>
  server.close(async () => {
    await log.close()
    await mongoose.disconnect()
  }),
)
