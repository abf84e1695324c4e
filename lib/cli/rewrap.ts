import type { Command } from './command'
import { runJobs } from './job'
import { filter, type JobGiven, json, model, ofJobs, ofLongJobs, ofModels } from './options'

export const rewrap: Command = {
  name: 'rewrap',
  summary: 'have KMS wrap data keys anew, under the current key and context',
  description:
    'Has KMS wrap data keys anew, under the current keyId and version: Model.rewrapKmsKey(). One call to KMS for each data key that is not current.',
  options: [...ofModels(), model(), filter(), ...ofJobs(), ...ofLongJobs(), json()],
  run(given: JobGiven, session) {
    return runJobs({ name: 'rewrap', job: 'rewrapKmsKey', done: 'wrapped anew' }, given, session)
  },
}
