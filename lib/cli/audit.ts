import { Argument, Option } from 'commander'
import { type AuditGiven, runAudit } from '../trail/command'
import { formats } from '../trail/formats'
import type { Command } from './command'

const collect = (value: string, before: readonly string[] | undefined) => [...(before ?? []), value]

export const audit: Command = {
  name: 'audit',
  summary: 'tell from CloudTrail who opened which record',
  description:
    'Tells from files of CloudTrail, gzipped or not, who opened which record, what was denied or is unusual, and what the application itself ' +
    'does not know of. Needs no models and no database. Exit code 3: there are calls that the log of the application has nothing of.',
  arguments: [new Argument('<paths...>', 'files and folders of CloudTrail')],
  options: [
    new Option(
      '-l, --app-log <path>',
      "the application's log, as auditLog() writes it; may be given several times",
    ).argParser(collect),
    new Option('--record <name>', 'only this record, such as User/65f…, and each call for it'),
    new Option('-m, --model <name>', 'only records of this model'),
    new Option('--principal <text>', 'only callers with this in their ARN'),
    new Option('--since <time>', 'only from here on; events of before tell who is not new'),
    new Option('--until <time>', 'only up to here'),
    new Option('--format <format>', 'table, json, csv, or html: one page that opens without a network')
      .choices(Object.keys(formats))
      .default('table'),
    new Option('-o, --out <file>', 'write the report there'),
  ],
  async run({ paths, ...given }: AuditGiven & { readonly paths: readonly string[] }, { output, signal }) {
    let hasBar = false
    const outcome = await runAudit(
      paths,
      { ...given, signal },
      {
        raw: (text) => output.raw(text.trimEnd()),
        // It ends the bar, which is drawn anew below.
        message: (text) => {
          output.message(text)
          hasBar = false
        },
        progress: ({ bytes, of }) => {
          if (!hasBar) output.startBar('audit, kB', Math.ceil(of / 1000))
          hasBar = true
          output.updateBar(Math.ceil(bytes / 1000), 0)
        },
      },
    )
    output.stopBar()
    return outcome
  },
}
