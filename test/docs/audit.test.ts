import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { KmsStandIn } from '../kms'
import { databaseName } from '../mongo/run'
import { mongoUri, startKmsForPrograms } from './kms'
import { blocksOf, readPage, root } from './page'
import { Project } from './program'

// The program of docs/audit.md leaves the lines that the page says.
const page = readPage('docs/audit.md')
const project = new Project()
const folder = mkdtempSync(join(tmpdir(), 'audit-log-'))
const file = join(folder, 'audit.ndjson')
let kms: KmsStandIn
afterAll(async () => {
  project.remove()
  rmSync(folder, { recursive: true })
  await kms.stop()
})

test('the program of the page runs, and leaves the line that it shows', async () => {
  const started = await startKmsForPrograms()
  kms = started.kms
  const [program] = blocksOf(page).filter(({ language }) => language === 'ts')
  const [line] = blocksOf(page).filter(({ language }) => language === 'json')
  project.write('audit.mts', program!.text.replace("'audit.ndjson'", JSON.stringify(file)))
  const env = { ...started.env, MONGODB_URI: mongoUri(databaseName('audit')) }
  const { code, stdout, stderr } = await project.run('audit.mts', env)
  expect([code, stderr]).toEqual([0, expect.not.stringContaining('Error')])
  expect(stdout).toBe('ada@example.org\n')
  const lines = readFileSync(file, 'utf8').trim().split('\n')
  const [created, opened] = lines.map((each) => JSON.parse(each))
  expect(lines).toHaveLength(2)
  expect(created).toMatchObject({ operation: 'generate', read: [] })
  const expected = JSON.parse(line!.text)
  expect(Object.keys(opened)).toEqual(Object.keys(expected))
  for (const key of ['operation', 'model', 'fields', 'read', 'outcome', 'actor', 'reason'])
    expect(opened[key]).toEqual(expected[key])
  expect([created.requestId, opened.requestId]).toEqual(kms.calls.map(({ requestId }) => requestId))
  expect(kms.calls.map(({ userAgent }) => userAgent.endsWith(' md/actor#grace'))).toEqual([false, true])
})

test('every file that the page links to is there', () => {
  const links = [...page.matchAll(/\]\(([^)#]+)\)/g)].map(([, path]) => path as string)
  expect(links.length).toBeGreaterThan(3)
  for (const path of links) expect([path, existsSync(join(root, 'docs', path))]).toEqual([path, true])
})
