// Makes docs/api.md of the docstrings of what lib/index.ts exports. With --check it writes nothing, and fails where the page is not current.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const here = import.meta.dirname
const page = join(here, '../docs/api.md')
const out = mkdtempSync(join(tmpdir(), 'reference-'))
try {
  execFileSync(process.execPath, ['node_modules/typedoc/bin/typedoc', '--out', out], { cwd: here, stdio: 'inherit' })
  const made = readFileSync(join(out, 'README.md'), 'utf8').replace(/^# .*/, '# API')
  if (!process.argv.includes('--check')) writeFileSync(page, made)
  else if (readFileSync(page, 'utf8') !== made) {
    console.error('docs/api.md is not what the docstrings say. Run: npm run reference')
    process.exitCode = 1
  }
} finally {
  rmSync(out, { recursive: true })
}
