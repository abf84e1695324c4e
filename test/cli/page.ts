/**
 * Writes docs/lifecycle.md from what the commands declare: `node --import tsx test/cli/page.ts`.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Option } from 'commander'
import { commands } from '../../lib/cli/commands'
import { ofJobs, ofLongJobs, ofModels } from '../../lib/cli/options'

export const pagePath = join(__dirname, '../../docs/lifecycle.md')

const introduction = `# The command line

\`npx mongoose-kms-encrypted <command>\` runs the [jobs](../README.md#keys-for-life) over the records of an application's models. This page is made
from what the program itself says with \`--help\`.

\`\`\`sh
npx mongoose-kms-encrypted status --require ./dist/models.js --uri mongodb://127.0.0.1/app
npx mongoose-kms-encrypted rotate --import tsx --require ./src/models.ts --dry-run
npx mongoose-kms-encrypted rotate --require ./dist/models.js --model User --concurrency 50 --partition 1/4
npx mongoose-kms-encrypted erase --require ./dist/models.js --model User --filter '{"_id":{"$oid":"65f0c0ffee0000000000cafe"}}'
\`\`\`

- **Models.** The modules of \`--require\` are loaded one after another, as seen from the working directory, and all models with encrypted fields
  that they make are worked on, one after the other; discriminators with their base. They bring their key provider, their Mongoose and its types. Collections and indexes
  are not made by loading them: that is for the application.
- **Database.** What the modules have not connected is connected to \`--uri\`, or else to \`MONGODB_URI\`, where no list of processes shows a password. Where
  they have, \`--uri\` is refused.
- **Stopping.** Ctrl-C, or SIGTERM, ends a job between records: what was begun ends, and the same command goes on from a checkpoint in the
  database. Once more ends it at once; what another process then is refused with \`JOB_RUNNING\` is free after \`--lease\`.
- **Asking.** \`erase\`, \`migrate --undo\` and \`migrate --drop-indexes\` ask before they begin, with the number of records, the database and its host. Without a terminal they need \`--yes\`.
- **\`--dry-run\`** reads all records that there is something to do for, and tells how many they are and what the calls to KMS would cost. It writes nothing and leaves
  KMS alone, but for the index key where the filter names an encrypted field.

## What it writes

On a terminal: a bar with rate and remaining time, what has become of the records, and the first 100 that failed. Where stdout is no terminal, or with \`--json\`,
one JSON object on each line, with values of MongoDB as [Extended JSON](https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/), such as
\`{"$oid":"…"}\`. Messages and the bar go to stderr. No value of a field, no key and no password is written.

| \`type\` | When | Holds |
|---|---|---|
| \`start\` | before the first record of a model | \`model\`, \`command\`, \`records\`; \`checkpoint\`, if it goes on behind that |
| \`progress\` | after each \`--batch-size\` records | \`processed\`, \`updated\`, \`unchanged\`, \`failed\`, \`checkpoint\` |
| \`failure\` | for each record, or place in it, that failed | \`id\`, \`path\`, \`code\`, \`message\` |
| \`result\` | after the last record of a model | the counts, \`outcome\` (\`done\`, \`failed\`, \`interrupted\`), \`isResumed\`; of \`migrate\` \`indexes\` and \`droppedIndexes\` |
| \`plan\` | instead, with \`--dry-run\` | \`records\`, \`kmsCalls\`, \`usd\`, \`failed\` |
| \`status\` | for each model | \`records\`, \`keys\`, as \`kmsStatus()\` gives them |
| \`index-key\` | once, with \`--json\` | \`indexKey\` |
| \`error\` | where nothing came of it | \`code\`, \`message\` |

| Exit code | |
|---|---|
| 0 | done |
| 1 | done, with records that failed |
| 2 | wrong use, or a setup that cannot work; nothing was done |
| 3 | not to be done: no connection, no KMS, or another worker does it; of \`audit\`: calls that the application does not know |
| 130 | interrupted, or not confirmed |
`

/** Told once, since several commands have them. */
const shared: readonly [string, readonly Option[]][] = [
  ['Options of all but index-key and audit', ofModels()],
  ['Options of all jobs', ofJobs()],
  ['Options of migrate, backfill, rotate, rewrap and verify', ofLongJobs()],
]

/** The page, as it should be. */
export function renderPage(): string {
  const known = new Set(shared.flatMap(([, options]) => options.map(({ flags }) => flags)))
  const common = shared.map(([title, options]) => `## ${title}\n\n${tableOf(options)}`)
  const each = commands.map(({ name, description, options, arguments: named = [] }) => {
    const own = options.filter(({ flags }) => !known.has(flags))
    const call = [name, ...named.map((argument) => `<${argument.name()}…>`)].join(' ')
    return `## ${call}\n\n${description}\n\n${tableOf(own)}`
  })
  return [introduction, ...common, ...each].join('\n')
}

function tableOf(options: readonly Option[]): string {
  const rows = options.map(
    ({ flags, description, mandatory, defaultValue }) =>
      `| \`${flags}\` | ${description}${mandatory && defaultValue === undefined ? '; required' : ''} |\n`,
  )
  return `| Option | |\n|---|---|\n${rows.join('')}`
}

if (require.main === module) writeFileSync(pagePath, renderPage())
