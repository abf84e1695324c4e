import type { AnyModel } from '../mongoose/host'
import type { KmsStatus } from '../schema/jobs'
import type { Command } from './command'
import { parseFilter } from './job'
import { closeModels, jobOf, openModels } from './models'
import { filter, json, type ModelOptions, model, ofModels } from './options'

export const status: Command = {
  name: 'status',
  summary: 'count records by KMS key, version and age of their data keys',
  description:
    'Counts records by KMS key, version and age of their data keys: Model.kmsStatus(). With the option indexKeys of the plugin it counts in indexes. ' +
    'KMS is not called.',
  options: [...ofModels(), model(), filter(), json()],
  async run(given: ModelOptions, session) {
    const { output, signal } = session
    const models = await openModels(given, session)
    try {
      for (const each of models) {
        if (signal.aborted) return 'interrupted'
        const options = given.filter === undefined ? {} : { filter: parseFilter(each, given.filter) }
        const counted: KmsStatus = await jobOf(each, 'kmsStatus').run(options)
        output.line({ type: 'status', model: each.modelName, ...counted })
        output.text(tableOf(each, counted))
      }
      return 'done'
    } finally {
      await closeModels(models)
    }
  },
}

/** The counts as a table. A record that has several data keys is counted by each. */
function tableOf({ modelName }: AnyModel, { records, keys }: KmsStatus): string {
  const rows = keys.flatMap((key): [string, number][] => [
    [key.path, key.withKeys],
    ...key.keyIds.map(({ keyId, records: of }): [string, number] => [`  key ${keyId}`, of]),
    ...key.versions.map(({ version, records: of }): [string, number] => [`  version ${version}`, of]),
    ...Object.entries(key.olderThanDays).map(([days, of]): [string, number] => [`  older than ${days} days`, of]),
    ['  no data key, or erased', key.withoutKeys],
  ])
  const all: [string, number][] = [[modelName, records], ...rows]
  const width = Math.max(...all.map(([name]) => name.length))
  const digits = Math.max(...all.map(([, of]) => String(of).length))
  return all.map(([name, of]) => `${name.padEnd(width)}  ${String(of).padStart(digits)}`).join('\n')
}
