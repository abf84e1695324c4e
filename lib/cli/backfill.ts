import type { Command } from './command'
import { runJobs } from './job'
import { filter, type JobGiven, json, model, ofJobs, ofLongJobs, ofModels } from './options'

const lacking = 'no field has a blind index. Give it the option blindIndex.'

export const backfill: Command = {
  name: 'backfill',
  summary: 'make the index values of records from before a field was indexed',
  description:
    'Makes the blind index values of records that were stored before their fields were indexed, or with other versions of the index: ' +
    'Model.backfillBlindIndexes(). One call to KMS for each data key.',
  options: [...ofModels(), model(), filter(), ...ofJobs(), ...ofLongJobs(), json()],
  run(given: JobGiven, session) {
    return runJobs({ name: 'backfill', job: 'backfillBlindIndexes', done: 'indexed', lacking }, given, session)
  },
}
