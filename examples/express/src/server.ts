import mongoose from 'mongoose'
import { auditLog } from 'mongoose-kms-encrypted'
import { Account } from './account'
import { app } from './app'

async function main(): Promise<void> {
  await mongoose.connect(process.env.MONGODB_URI ?? 'mongodb://127.0.0.1/example')
  // It is the unique index that has one of two who sign up at once with one address fail.
  await Account.init()
  const log = auditLog({ write: process.stdout })
  const server = app.listen(process.env.PORT ?? 3000)
  process.once('SIGTERM', () =>
    server.close(async () => {
      await log.close()
      await mongoose.disconnect()
    }),
  )
}

void main()
