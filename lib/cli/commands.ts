import { audit } from './audit'
import { backfill } from './backfill'
import type { Command } from './command'
import { erase } from './erase'
import { indexKey } from './indexkey'
import { migrate } from './migrate'
import { rewrap } from './rewrap'
import { rotate } from './rotate'
import { status } from './status'
import { verify } from './verify'

/** All commands, in the order in which the help lists them. */
export const commands: readonly Command[] = [status, migrate, backfill, rotate, rewrap, verify, erase, indexKey, audit]
