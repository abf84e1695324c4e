import { connectOwn } from './own'
import { connect, kmsOf, type Shared } from './record'

/** Moves on what is left of the older version, and encrypts what is in the clear, once nobody writes any more. @returns what is wrong then */
export async function finish(shared: Shared): Promise<string[]> {
  const kms = kmsOf(shared)
  const { connection, Tortured, Member } = await connect(shared, 2, kms)
  const { connection: other, Own } = await connectOwn(shared, 2, kms)
  const results = [['migrateToKms of Own', await Own.migrateToKms()]]
  for (const model of [Tortured, Member, Own]) {
    for (const job of ['rewrapKmsKey', 'verifyKms'])
      results.push([`${job} of ${model.modelName}`, await model[job]({ concurrency: 8 })])
  }
  const left = await Promise.all(
    [Tortured, Member, Own].map(async (model) => [model.modelName, await model.kmsStatus()] as const),
  )
  await Promise.all([connection.close(), other.close()])
  return [
    ...results.flatMap(([job, { failures }]) =>
      failures.map(({ id, path = '', error }: any) => `${job}: record ${id} ${path}: ${error.message}`),
    ),
    ...left.flatMap(([model, { keys }]) =>
      keys.flatMap(({ path, versions }: any) =>
        versions
          .filter(({ version }: any) => version !== 2)
          .map(({ version, records }: any) => `${records} of ${model} have keys of version ${version} at ${path}`),
      ),
    ),
  ]
}
