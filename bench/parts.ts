import { calls } from './calls'
import { comparison } from './comparison'
import { find, read, save, update } from './cost'
import { jobs } from './jobs'
import { latency } from './latency'
import { loading } from './loading'
import { lookup } from './lookup'
import type { Part } from './part'
import { sdk } from './sdk'
import { size } from './size'
import { trail } from './trail'

/** The parts by the names that `--only` takes, in the order of the results. */
export const parts: Record<string, Part> = {
  save,
  read,
  find,
  update,
  latency,
  sdk,
  loading,
  calls,
  size,
  peers: comparison,
  lookup,
  jobs,
  trail,
}
