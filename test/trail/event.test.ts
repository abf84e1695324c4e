import { eventsIn, parseKeyUse } from '../../lib/trail/event'
import { assumedRole } from '../kms/cloudtrail'
import { keyArn, made, others } from './events'

const other = keyArn.replace('1234abcd', '9999ffff')

test('a call is read with its record, key, caller and time', () => {
  const event = made({ record: 'User/1', requestId: 'request', errorCode: 'InvalidCiphertextException' })
  expect(parseKeyUse(event)).toEqual({
    id: event.eventID,
    requestId: 'request',
    time: Date.UTC(2026, 10, 30, 12),
    operation: 'Decrypt',
    record: 'User/1',
    to: undefined,
    key: keyArn,
    principal: {
      session: 'arn:aws:sts::111122223333:assumed-role/app/task-1',
      identity: 'arn:aws:iam::111122223333:role/app',
    },
    address: '10.0.0.1',
    agent: 'aws-sdk-js/3.1164.0',
    error: 'InvalidCiphertextException',
  })
})

test('of ReEncrypt, the record that was opened and the one it is for from then on', () => {
  const event = made({ operation: 'ReEncrypt' })
  const contexts = (source: object, destination: object) => ({
    ...event,
    requestParameters: {
      sourceEncryptionContext: source,
      destinationEncryptionContext: destination,
      sourceKeyId: keyArn,
      destinationKeyId: other,
    },
  })
  const [one, two] = [{ Record: 'User/1' }, { Record: 'User/2' }]
  expect(parseKeyUse(contexts(one, one))).toMatchObject({ record: 'User/1', to: undefined })
  expect(parseKeyUse(contexts(one, two))).toMatchObject({ record: 'User/1', to: 'User/2' })
  expect(parseKeyUse(contexts({}, two))).toMatchObject({ record: 'User/2', to: undefined })
  expect(parseKeyUse(contexts(one, {}))).toMatchObject({ record: 'User/1', to: undefined })
  expect(parseKeyUse({ ...contexts(one, two), resources: null })).toMatchObject({ key: keyArn })
})

test('a call that was denied has no parameters; its key is in its resources or in the message', () => {
  const event = { ...made({ record: 'User/1', errorCode: 'AccessDeniedException' }), resources: undefined }
  expect(event).toMatchObject({ errorCode: 'AccessDenied', requestParameters: null })
  const errorMessage = `User: arn:aws:iam::1:user/x is not authorized to perform: kms:Decrypt on resource: ${keyArn} because`
  expect(parseKeyUse({ ...event, errorMessage })).toMatchObject({
    record: undefined,
    key: keyArn,
    error: 'AccessDenied',
  })
  expect(parseKeyUse(event)).toMatchObject({ key: '-' })
})

const identities: [type: string, userIdentity: object, session: string, identity?: string][] = [
  [
    'AssumedRole',
    assumedRole('app', 's'),
    'arn:aws:sts::111122223333:assumed-role/app/s',
    'arn:aws:iam::111122223333:role/app',
  ],
  ['IAMUser', { type: 'IAMUser', arn: 'arn:aws:iam::1:user/x', userName: 'x' }, 'arn:aws:iam::1:user/x'],
  ['Root', { type: 'Root', arn: 'arn:aws:iam::1:root', accountId: '1' }, 'arn:aws:iam::1:root'],
  [
    'FederatedUser',
    { type: 'FederatedUser', arn: 'arn:aws:sts::1:federated-user/x' },
    'arn:aws:sts::1:federated-user/x',
  ],
  ['AWSService', { type: 'AWSService', invokedBy: 's3.amazonaws.com' }, 's3.amazonaws.com'],
  ['AWSAccount', { type: 'AWSAccount', principalId: 'AIDAX', accountId: '2' }, 'AIDAX'],
  ['AWSAccount alone', { type: 'AWSAccount', accountId: '2' }, '2'],
  ['WebIdentityUser', { type: 'WebIdentityUser', principalId: 'p', userName: 'x' }, 'x'],
  ['IdentityCenterUser', { type: 'IdentityCenterUser' }, 'IdentityCenterUser'],
  ['none', {}, '-'],
]

test.each(identities)('who called: %s', (_type, userIdentity, session, identity = session) => {
  const event = made({ record: 'User/1', userIdentity: userIdentity as Record<string, unknown> })
  expect(parseKeyUse(event)?.principal).toEqual({ session, identity })
})

test('an event that two accounts have is one', () => {
  const event = { ...made({ record: 'User/1' }), sharedEventID: 'shared' }
  expect(parseKeyUse(event)?.id).toBe('shared')
})

test('events of other services and for other purposes are none', () => {
  expect(
    others()
      .map(parseKeyUse)
      .filter((use) => use?.record !== undefined),
  ).toEqual([])
  expect(others().filter((event) => parseKeyUse(event) !== undefined)).toHaveLength(1)
})

test('what is no event, or has no time, is told', () => {
  expect(() => parseKeyUse(17)).toThrow('no object')
  expect(() => parseKeyUse({ ...made({ record: 'User/1' }), eventTime: 'yesterday' })).toThrow('no eventTime')
})

describe('events are found', () => {
  const event = JSON.parse(JSON.stringify(made({ record: 'User/1' })))
  const wrapped = { EventId: event.eventID, CloudTrailEvent: JSON.stringify(event) }
  const forms: Record<string, unknown> = {
    themselves: event,
    'in a list': [event],
    'in a file of S3': { Records: [event] },
    'in an answer of lookup-events': { Events: [wrapped], NextToken: 'more' },
    'in one of its events': wrapped,
    'in a line of Lake': { eventJson: JSON.stringify(event) },
    'in a result of Lake': {
      QueryStatus: 'FINISHED',
      QueryResultRows: [[{ eventID: '1' }, { eventJson: JSON.stringify(event) }]],
    },
    'in an event of EventBridge for Lake': { eventVersion: '1.0', eventData: event },
  }
  test.each(Object.entries(forms))('%s', (_name, value) => {
    expect(eventsIn(value)).toEqual([event])
  })

  test('as columns of Lake, with its times and its objects in strings', () => {
    const columns = {
      ...event,
      eventTime: '2026-11-30 12:00:00.000',
      requestParameters: JSON.stringify({ keyId: keyArn, encryptionContext: JSON.stringify({ Record: 'User/1' }) }),
      userIdentity: JSON.stringify(event.userIdentity),
    }
    expect(parseKeyUse(columns)).toEqual(parseKeyUse(event))
  })
})
