import { once } from 'node:events'
import { createWriteStream, readFileSync, writeFileSync } from 'node:fs'
import { DecryptCommand, GenerateDataKeyCommand, ReEncryptCommand } from '@aws-sdk/client-kms'
import type { Connection } from 'mongoose'
import { Schema } from 'mongoose'
import { auditLog, awsKms, withAudit } from '../../lib'
import type { Call, KmsStandIn } from '../kms'
import { assumedRole, type Caller, cloudTrailEvent, isInTrail } from '../kms/cloudtrail'
import { modelOf, secret } from '../support'
import { made, others } from './events'

/** A day of an application, its log of it, and what CloudTrail has of it: also of somebody who uses the key beside the application. */
export interface Day {
  readonly events: readonly Record<string, unknown>[]
  /** The calls of the intruder that gave him something. */
  readonly intrusions: readonly Call[]
  readonly intruder: string
  readonly records: readonly string[]
}

const callers: Readonly<Record<string, Caller>> = {
  AKIDAPP: { userIdentity: assumedRole('app', 'task-7f3c'), sourceIPAddress: '10.0.4.17' },
  AKIDINTRUDER: {
    userIdentity: assumedRole('ci-deploy', 'laptop'),
    sourceIPAddress: '203.0.113.77',
    userAgent: 'Boto3/1.40.1 md/Botocore#1.40.1',
  },
}

/** Users are created, read and changed; one opens many. The intruder has a copy of the database and may use the key. */
export async function aDay(kms: KmsStandIn, connection: Connection, logFile: string): Promise<Day> {
  const key = kms.createKey()
  const other = kms.createKey()
  const stream = createWriteStream(logFile)
  const log = auditLog({ write: stream })
  const User = modelOf(connection, new Schema({ name: String }), {
    keyId: key.arn,
    provider: awsKms({ client: kms.client({ principal: 'AKIDAPP' }) }),
    fields: { email: String },
  })
  const recordOf = (id: unknown) => `${User.modelName}/${id}`

  const users = await Promise.all(
    ['ada', 'grace', 'mary', 'joan', 'edith', 'jean'].map((name) =>
      User.create({ name, email: secret(`${name}@example.org`) }),
    ),
  )
  const open = async (id: unknown) => (await User.findById(id).orFail()).email
  for (const actor of ['support', 'billing'])
    for (const { _id } of users) await withAudit({ actor, reason: 'case 7' }, () => open(_id))

  // A ciphertext that was copied to another record: the KMS refuses.
  const [ada, grace, mary] = users as [(typeof users)[0], (typeof users)[0], (typeof users)[0]]
  const stolen = await User.collection.findOne({ _id: grace._id })
  const { email, encrypted_kms_key } = (await User.collection.findOne({ _id: mary._id }))!
  const raw = connection.collection(User.collection.name)
  await raw.updateOne(
    { _id: mary._id },
    { $set: { email: stolen!.email, encrypted_kms_key: stolen!.encrypted_kms_key } },
  )
  await expect(open(mary._id)).rejects.toThrow()
  await raw.updateOne({ _id: mary._id }, { $set: { email, encrypted_kms_key } })

  const intruder = kms.client({ principal: 'AKIDINTRUDER' })
  const before = kms.calls.length
  const wrapped = stolen!.encrypted_kms_key[0].wrapped.buffer as Uint8Array
  const context = { Record: recordOf(grace._id) }
  await intruder.send(new DecryptCommand({ CiphertextBlob: wrapped, EncryptionContext: context }))
  await intruder.send(
    new ReEncryptCommand({
      CiphertextBlob: wrapped,
      SourceEncryptionContext: context,
      DestinationEncryptionContext: { Record: recordOf(ada._id) },
      DestinationKeyId: other.arn,
    }),
  )
  await intruder.send(
    new GenerateDataKeyCommand({
      KeyId: key.arn,
      KeySpec: 'AES_256',
      EncryptionContext: { Record: recordOf(ada._id) },
    }),
  )
  const intrusions = kms.calls.slice(before)
  const guess = intruder.send(
    new DecryptCommand({ CiphertextBlob: wrapped, EncryptionContext: { Record: recordOf(ada._id) } }),
  )
  await expect(guess).rejects.toThrow()
  const denial = kms.denyWhen({ principal: 'AKIDINTRUDER' })
  await expect(
    intruder.send(new DecryptCommand({ CiphertextBlob: wrapped, EncryptionContext: context })),
  ).rejects.toThrow()
  denial.lift()

  await log.close()
  stream.end()
  await once(stream, 'close')
  const calls = kms.calls.filter(isInTrail)
  const times = new Map(calls.map(({ requestId }, index) => [requestId, timeOf(index, calls.length)]))
  const events = calls.map((call) =>
    cloudTrailEvent(call, { ...callers[call.principal], eventTime: times.get(call.requestId) }),
  )
  // The few seconds that it took are the hours of the day, in the log as well.
  const lines = readFileSync(logFile, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .map((line) => JSON.stringify({ ...line, time: times.get(line.requestId) }))
  writeFileSync(logFile, lines.join('\n'))
  const noise = [...others(), made({ key: other.arn, operation: 'GenerateDataKey' })]
  // Delivered twice, as happens; and those of others in between.
  const all = [...events, ...events.slice(3, 9), ...noise].sort((a, b) => hash(a) - hash(b))
  return { events: all, intrusions, intruder: 'ci-deploy', records: users.map(({ _id }) => recordOf(_id)) }
}

/** Over the whole day, in order. */
function timeOf(index: number, count: number): string {
  return new Date(Date.UTC(2026, 10, 30) + Math.floor((index / count) * 86_400) * 1000)
    .toISOString()
    .replace('.000Z', 'Z')
}

/** CloudTrail delivers in no order; here always in the same one. */
function hash(event: Record<string, unknown>): number {
  return Buffer.from(String(event.requestID)).reduce((sum, byte) => (sum * 31 + byte) % 65_521, 7)
}
