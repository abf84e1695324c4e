import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CommanderError, Command as Parser } from 'commander'
import type { Command, Session } from './command'
import { commands } from './commands'
import { exitCodes, Misuse } from './outcome'
import { Output } from './output'
import type { Surroundings } from './surroundings'

/**
 * The room of the command line. Comes in: arguments, the modules of the application and its database; goes out: what the jobs of the models
 * have done, for people or as lines of JSON, and an exit code. It knows models by their statics alone, and keeps invariant 5 of the design:
 * no value, no key and no password is written anywhere.
 */
export async function runCli(surroundings: Surroundings): Promise<void> {
  const { stdout, exit } = surroundings
  const code = await codeOf(surroundings)
  // What has been written to a pipe may be on its way still.
  stdout.write('', () => exit(code))
}

const manifest = join(__dirname, '../../package.json')

function versionOf(path: string): string {
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
}

const epilogue = `
Exit codes:
  ${exitCodes.done}    done
  ${exitCodes.failed}    done, with records that failed
  ${exitCodes.misuse}    wrong use, or a setup that cannot work; nothing was done
  ${exitCodes.error}    not to be done: no connection, no KMS, or another worker does it; of audit: calls that the application does not know
  ${exitCodes.interrupted}  interrupted, or not confirmed`

async function codeOf(surroundings: Surroundings): Promise<number> {
  const { args, stdout, stderr } = surroundings
  const stopping = new AbortController()
  const output = new Output(surroundings)
  const session: Session = { surroundings, output, signal: stopping.signal }
  surroundings.onSignal(() => {
    if (stopping.signal.aborted) {
      output.stopBar()
      surroundings.exit(exitCodes.interrupted)
    }
    output.message('Stopping: what was begun ends. Once more ends it at once.')
    stopping.abort()
  })
  surroundings.onCrash((error) => {
    output.error(error)
    surroundings.exit(exitCodes.error)
  })
  // Whoever reads has gone: `| head`.
  stdout.on('error', () => stopping.abort())
  let code: number = exitCodes.done
  const parser = new Parser('mongoose-kms-encrypted')
    .description('Jobs over the encrypted records of Mongoose models.')
    .version(versionOf(manifest))
    .helpCommand(false)
    .addHelpText('after', epilogue)
    .configureOutput({ writeOut: (text) => stdout.write(text), writeErr: (text) => stderr.write(text) })
    .exitOverride()
  for (const command of commands) {
    const action = async (given: any) => {
      output.json ||= given.json === true
      code = exitCodes[await command.run(given, session)]
    }
    addTo(parser, command, action)
  }
  try {
    await parser.parseAsync([...args], { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 && args.length > 0 ? 0 : exitCodes.misuse
    output.error(error)
    return isMisuse(error) ? exitCodes.misuse : exitCodes.error
  }
}

/** The same as the help lists it, and as the page of the options is made of. */
export function addTo(
  parser: Parser,
  { name, summary, description, options, arguments: named = [] }: Command,
  action: (given: any) => Promise<void>,
): Parser {
  const added = parser
    .command(name)
    .summary(summary)
    .description(description)
    .addHelpText('after', epilogue)
    .action(() => action({ ...added.opts(), paths: added.args }))
  for (const argument of named) added.addArgument(argument)
  for (const option of options) added.addOption(option)
  return added
}

const setup = new Set(['ConfigurationError', 'OperationError', 'AccessError'])

/** Errors of this library are told by their names: there may be several copies of it. */
function isMisuse(error: unknown): boolean {
  const { name } = (error ?? {}) as { name?: unknown }
  return error instanceof Misuse || setup.has(String(name))
}
