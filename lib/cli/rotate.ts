import { Option } from 'commander'
import type { Command } from './command'
import { runJobs } from './job'
import { date, filter, type JobGiven, json, model, ofJobs, ofLongJobs, ofModels } from './options'

export const rotate: Command = {
  name: 'rotate',
  summary: 'give records new data keys',
  description:
    'Gives records new data keys: Model.rotateKmsKey(). Two calls to KMS for each. A job that was stopped goes on when it is started again.',
  options: [
    ...[...ofModels(), model(), filter()],
    new Option('--older-than <date>', 'only records with a data key from then or before').argParser(date),
    ...[...ofJobs(), ...ofLongJobs(), json()],
  ],
  run(given: JobGiven & { olderThan?: Date }, session) {
    const { olderThan } = given
    const options = { ...(olderThan && { olderThan }) }
    return runJobs({ name: 'rotate', job: 'rotateKmsKey', done: 'rotated', options }, given, session)
  },
}
