import type { Command } from './command'
import { runJobs } from './job'
import { filter, type JobGiven, json, model, ofJobs, ofModels, yes } from './options'

export const erase: Command = {
  name: 'erase',
  summary: 'take away what opens records: cannot be undone',
  description:
    'Takes away what opens the records that a filter finds: Model.eraseKmsKey(). What was encrypted cannot be had again, but from backups. It asks ' +
    'before, and KMS is not called. Started again, it goes on with what is left.',
  options: [
    ...[...ofModels(), model().makeOptionMandatory(), filter().makeOptionMandatory()],
    ...[...ofJobs(), yes(), json()],
  ],
  run(given: JobGiven, session) {
    const question = (records: string, name: string) =>
      `The encrypted values of ${records} of ${name} will be lost for good.`
    return runJobs({ name: 'erase', job: 'eraseKmsKey', done: 'erased', question }, given, session)
  },
}
