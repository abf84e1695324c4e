import { type KmsStandIn, startKms } from '../kms'

/** A KMS for programs of their own, and the environment by which the AWS SDK finds it in them. */
export async function startKmsForPrograms(): Promise<{ kms: KmsStandIn; env: Record<string, string> }> {
  const kms = await startKms()
  kms.createKey({ alias: 'alias/programs' })
  return {
    kms,
    env: {
      KMS_KEY_ID: 'alias/programs',
      AWS_ENDPOINT_URL_KMS: kms.endpoint,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'no-secret-at-all',
    },
  }
}

/** The URI of the test run's server, with a database in it. */
export function mongoUri(database: string): string {
  // No URL where it names several servers.
  return (process.env.TEST_MONGO_URI as string).replace(/(?<=:\/\/[^/?]+)(\/[^?]*)?(?=\?|$)/, `/${database}`)
}
