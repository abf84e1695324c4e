import 'reflect-metadata'
import { NestFactory } from '@nestjs/core'
import { auditLog } from 'mongoose-kms-encrypted'
import { AppModule } from './app.js'

async function main(): Promise<void> {
  const log = auditLog({ write: process.stdout })
  const app = await NestFactory.create(AppModule)
  process.once('SIGTERM', () => void app.close().then(() => log.close()))
  await app.listen(process.env.PORT ?? 3000)
}

void main()
