import { createHash } from 'node:crypto'
import { assumedRole } from '../kms/cloudtrail'
import { type Made, made } from './events'

/** Two weeks of an application that is busiest in the afternoon, and a night in which somebody uses its key. The same each time. */
export function sample(): { events: object[]; log: object[] } {
  const events: (Made & { known: boolean })[] = []
  let turn = 0
  /** As if by chance, from 0 up to and without 1. */
  const chance = () => createHash('md5').update(String(++turn)).digest().readUInt32BE() / 2 ** 32
  const recordOf = (number: number) => `User/65f0c0ffee65f0c0ffee${String(number).padStart(4, '0')}`
  for (let hour = 0; hour < 14 * 24; hour++) {
    const day = Math.floor(hour / 24)
    const busy = Math.max(0, Math.sin(((hour % 24) - 6) * (Math.PI / 14))) * (day % 7 > 4 ? 6 : 24)
    for (let call = 0; call < busy; call++) {
      const number = Math.floor(chance() ** 2 * 400)
      const kind = chance()
      events.push({
        record: recordOf(number),
        operation: kind < 0.75 ? 'Decrypt' : kind < 0.95 ? 'GenerateDataKey' : 'ReEncrypt',
        at: timeOf(hour, chance()),
        userIdentity: assumedRole('app', `task-${1 + Math.floor(chance() * 3)}`),
        sourceIPAddress: `10.0.4.${10 + Math.floor(chance() * 3)}`,
        errorCode: kind > 0.99 ? 'InvalidCiphertextException' : undefined,
        known: true,
      })
    }
  }
  for (let call = 0; call < 130; call++) {
    events.push({
      record: recordOf(call),
      at: timeOf(10 * 24 + 3, chance()),
      userIdentity: assumedRole('ci-deploy', 'laptop'),
      sourceIPAddress: '203.0.113.77',
      userAgent: 'Boto3/1.40.1 md/Botocore#1.40.1',
      errorCode: call < 6 ? 'AccessDeniedException' : undefined,
      known: false,
    })
  }
  const written = events.map(({ known, ...event }) => {
    const id = createHash('md5').update(String(++turn)).digest('hex')
    const requestId = id.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
    return { known, event: made({ ...event, requestId }), requestId, at: event.at, record: event.record }
  })
  return {
    events: written.map(({ event }) => event),
    log: written
      .filter(({ known }) => known)
      .map(({ at, record, requestId }) => ({ time: at, operation: 'unwrap', record, outcome: 'ok', requestId })),
  }
}

function timeOf(hour: number, part: number): string {
  const time = Date.UTC(2026, 10, 16) + hour * 3_600_000 + Math.floor(part * 3600) * 1000
  return new Date(time).toISOString().replace('.000Z', 'Z')
}
