import { existsSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { readPage, root } from './page'

// Every link of every page leads to a file, and to a heading of it.
const pages = ['README.md', 'SECURITY.md', 'CONTRIBUTING.md', 'CHANGELOG.md'].concat(
  readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
)

/** The anchors of a page, as GitHub makes them of headings. */
function anchorsOf(page: string): string[] {
  return [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    (heading as string)
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  )
}

test.each(pages)('%s', (path) => {
  const text = readPage(path).replaceAll(/^```.*?^```/gms, '')
  const broken = [...text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)].flatMap(([, file, anchor]) => {
    const target = file === '' ? path : join(dirname(path), file as string)
    if (!existsSync(join(root, target))) return [`${target} is not there`]
    const isFound = anchor === undefined || anchorsOf(readPage(target)).includes(anchor)
    return isFound ? [] : [`${target} has no heading #${anchor}`]
  })
  expect(broken).toEqual([])
})

test('every page of docs/ is linked from the README', () => {
  const readme = readPage('README.md')
  for (const path of pages.filter((each) => each.startsWith('docs/') || each === 'SECURITY.md'))
    expect([path, readme.includes(`(${path}`)]).toEqual([path, true])
})
