import { Schema } from 'mongoose'
import { awsKms, localKms } from '../lib'
import { modelOf, secret, useDatabase } from './support'

jest.mock('@aws-sdk/client-kms', () => {
  throw new Error('the SDK was loaded')
})

const { connection } = useDatabase()

test('the AWS SDK is loaded by the first call to AWS KMS, and by nothing before', async () => {
  const aws = awsKms()
  modelOf(connection, new Schema({}), { provider: aws, keyId: 'alias/users', fields: ['email'] })
  const Local = modelOf(connection, new Schema({}), { provider: localKms(), fields: ['email'] })
  await Local.create({ email: secret('ada@example.org') })
  expect(await (await Local.findOne()).email).toBe('ada@example.org')

  await expect(aws.generateDataKey({ keyId: 'alias/users', context: { Record: 'User/1' } })).rejects.toThrow(
    'the SDK was loaded',
  )
})
