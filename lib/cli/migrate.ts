import { Option } from 'commander'
import type { Command } from './command'
import { type JobCommand, runJobs } from './job'
import { filter, type JobGiven, json, model, ofJobs, ofLongJobs, ofModels, yes } from './options'
import { Misuse } from './outcome'

export const migrate: Command = {
  name: 'migrate',
  summary: 'encrypt what is stored in the clear, or undo that',
  description:
    'Encrypts what is stored in the clear, of models with migrating: true: Model.migrateToKms(). One call to KMS for each data key. With --undo it ' +
    'stores values in the clear again.',
  options: [
    ...[...ofModels(), model(), filter()],
    new Option('--undo', 'decrypt, and store in the clear: Model.migrateFromKms(); asks before').conflicts(
      'dropIndexes',
    ),
    new Option('--drop-indexes', 'drop the indexes on the fields when no value is left in the clear; asks before'),
    ...[...ofJobs(), ...ofLongJobs(), yes(), json()],
  ],
  run(given: JobGiven & { undo?: true; dropIndexes?: true }, session) {
    if (given.dropIndexes && (given.filter !== undefined || given.partition))
      throw new Misuse('--drop-indexes is for a run over all records, without --filter and --partition.')
    return runJobs(commandFor(given), given, session)
  },
}

const lacking = 'no model is migrating. Use the plugin with migrating: true.'

function commandFor({ undo, dropIndexes }: { undo?: true; dropIndexes?: true }): JobCommand {
  if (undo) {
    const question = (records: string, name: string) =>
      `The values of ${records} of ${name} will be stored in the clear.`
    return { name: 'migrate', job: 'migrateFromKms', done: 'decrypted', question, lacking }
  }
  const command = { name: 'migrate', job: 'migrateToKms', done: 'encrypted', lacking }
  if (!dropIndexes) return command
  const question = (records: string, name: string) =>
    `${records} of ${name} will be encrypted, and then MongoDB's indexes on the encrypted fields dropped.`
  return { ...command, options: { dropIndexes: true }, question, isAskedForNone: true }
}
