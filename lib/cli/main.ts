#!/usr/bin/env node
import { runCli } from './cli'

/** The program `mongoose-kms-encrypted`: what is global to a process is named here alone. */
void runCli({
  args: process.argv.slice(2),
  cwd: process.cwd(),
  env: process.env,
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  exit: (code) => process.exit(code),
  onSignal: (act) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, act)
  },
  onCrash: (act) => process.on('uncaughtException', act),
})
