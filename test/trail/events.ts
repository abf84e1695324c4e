import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { Call } from '../kms'
import { assumedRole, type Caller, cloudTrailEvent } from '../kms/cloudtrail'

export const keyArn = 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'

export interface Made extends Caller {
  readonly record?: string
  readonly operation?: string
  readonly at?: string
  readonly errorCode?: string
  readonly requestId?: string
  readonly key?: string
}

/** An event as CloudTrail writes it, of a call that is made up: of an application, at noon, if nothing else is said. */
export function made({ record, operation, at, errorCode, requestId, key = keyArn, ...caller }: Made = {}) {
  const call: Call = {
    eventTime: at ?? '2026-11-30T12:00:00Z',
    eventName: operation ?? 'Decrypt',
    requestId: requestId ?? randomUUID(),
    awsRegion: 'us-east-1',
    principal: 'app',
    userAgent: 'aws-sdk-js/3.1164.0',
    requestParameters: { keyId: key, ...(record !== undefined && { encryptionContext: { Record: record } }) },
    keyId: key,
    errorCode,
  }
  const application = { userIdentity: assumedRole('app', 'task-1'), sourceIPAddress: '10.0.0.1' }
  return cloudTrailEvent(call, { ...application, eventTime: at, ...caller })
}

/** Events of other services, and of the KMS for them and for other purposes: all of what is in a real trail and not asked for. */
export function others() {
  const s3 = { ...made(), eventSource: 's3.amazonaws.com', eventName: 'GetObject' }
  return [
    s3,
    // Services write what they like, the name of a KMS operation too.
    { ...s3, eventName: 'Decrypt' },
    { ...made({ record: 'User/1' }), eventName: 'DescribeKey' },
    {
      ...made({ key: keyArn.replace('1234abcd', '9999ffff') }),
      requestParameters: { encryptionContext: { 'aws:s3:arn': 'arn' } },
    },
    {
      eventVersion: '1.11',
      userIdentity: { type: 'AWSService', invokedBy: 'kms.amazonaws.com' },
      eventSource: 'kms.amazonaws.com',
      eventName: 'RotateKey',
      eventTime: '2026-11-30T12:00:00Z',
    },
  ]
}

/** A folder of its own for the files of a test file, which goes with it. */
export function folder() {
  const path = mkdtempSync(join(tmpdir(), 'trail-'))
  let files = 0
  const write = (bytes: string | Buffer, name = `${++files}.json`) => {
    writeFileSync(join(path, name), bytes)
    return join(path, name)
  }
  return {
    path,
    write,
    /** As CloudTrail puts them into S3. */
    records: (events: readonly object[], name = `${++files}.json.gz`) =>
      write(gzipSync(JSON.stringify({ Records: events })), name),
    lines: (lines: readonly unknown[], name = `${++files}.ndjson`) =>
      write(lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join(''), name),
    remove: () => rmSync(path, { recursive: true }),
  }
}
