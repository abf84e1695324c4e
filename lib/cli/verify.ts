import type { Command } from './command'
import { runJobs } from './job'
import { filter, type JobGiven, json, model, ofJobs, ofLongJobs, ofModels } from './options'

export const verify: Command = {
  name: 'verify',
  summary: 'open every record, and tell what is not in order',
  description:
    'Opens every record, and tells what is not in order, by record, path and code, never by value: Model.verifyKms(). One call to KMS for each ' +
    'data key. No record is changed; with --no-resume nothing is written at all.',
  options: [...ofModels(), model(), filter(), ...ofJobs(), ...ofLongJobs(), json()],
  run(given: JobGiven, session) {
    return runJobs({ name: 'verify', job: 'verifyKms', done: '' }, given, session)
  },
}
