/**
 * Writes docs/operations.md from the table: `node --import tsx test/operations/page.ts`. With `--check` it writes
 * nothing and fails when the page is not current.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isRefusal, kinds, type Outcome, outcomeOf, type Row, type Section } from './row'
import { table } from './table'

export const pagePath = join(__dirname, '../../docs/operations.md')

const introduction = `# Operations

What each operation of Mongoose does with an encrypted field, with a field in the clear, and with both at once. The tests
run every line of these tables, under Mongoose 8 and 9, inside and outside a transaction, and look at the raw documents
before and after. They run once more beside a global plugin that came late, statics that call those of Mongoose, and plain models of the
same collection, and every command that is sent is searched for plaintext. (Without a real \`mongod\`, a few lines of aggregations are
tested only for what they refuse.) This page is made from the same lines.

- **encrypted**: the value is stored as ciphertext, under the data key of the record that the write reaches.
- **honoured**: it means what it would for any other path.
- **as usual**: what Mongoose does anyway. The KMS is not asked, and ciphertext stays as it is.
- **ignored**: what is given changes nothing, and what is stored stays as it is.
- **refused**: an error with this \`code\` is thrown. Nothing is written.

In the tables, \`email\` stands for any encrypted field, \`pin\` for one with \`select: false\`, and \`encrypted_kms_key\` for
where the wrapped keys are stored. No option turns the encryption off: \`{ middleware: false }\`, \`strict: false\` and
\`strictQuery\` change nothing in it.

## What cannot be intercepted

- **The driver itself**: what is written by \`connection.db\` and \`connection.getClient()\` is stored as it is given. (\`Model.collection\` encrypts, ties
  and refuses as the model does, whatever model it is of: that is the collection that all models of one connection share.)
- **Aggregations of other models** and those of \`connection.aggregate()\` are looked at like any other: what they join of an encrypted
  collection is not compared, and they do not write to one.
- **Results of \`aggregate()\` and lean objects** hold what is stored. \`Model.decrypt()\` opens them.
- **Change streams** show what is stored. \`Model.decrypt()\` opens their \`fullDocument\`. A pipeline of \`Model.watch()\` that compares an encrypted field is refused; those of
  \`connection.watch()\` are the driver's, and match nothing.
- **JavaScript in a filter** (\`$where\`, \`$function\`) is refused where its text names an encrypted field. Text that names it in pieces is not
  understood.
`

/** The page, as it should be. */
export function renderPage(): string {
  return [introduction, ...table.map(renderSection)].join('\n')
}

function renderSection({ title, introduction, rows }: Section): string {
  const head = '| Operation | Encrypted field | Field in the clear | Both | |\n|---|---|---|---|---|\n'
  return `## ${title}\n\n${introduction}\n\n${head}${rows.map(renderRow).join('')}`
}

function renderRow(row: Row): string {
  const outcomes = kinds.map((kind) => renderOutcome(outcomeOf(row, kind)))
  const notes = [row.since ? `Since Mongoose ${row.since}.` : '', row.note ?? ''].filter(Boolean).join(' ')
  return `| ${[`\`${row.name}\``, ...outcomes, notes].join(' | ')} |\n`
}

function renderOutcome(outcome: Outcome): string {
  return isRefusal(outcome) ? `refused: \`${outcome}\`` : outcome
}

if (require.main === module) {
  if (!process.argv.includes('--check')) writeFileSync(pagePath, renderPage())
  else if (readFileSync(pagePath, 'utf8') !== renderPage()) {
    console.error('docs/operations.md is not current. Write it with: node --import tsx test/operations/page.ts')
    process.exit(1)
  }
}
