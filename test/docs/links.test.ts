import { existsSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { readPage, root } from './page'

// Every link of every page leads to a file, and to a heading of it.
const pages = ['README.md', 'SECURITY.md', 'CONTRIBUTING.md', 'CHANGELOG.md'].concat(
  readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
)

/** The anchors of a page, as GitHub makes them of headings: the second of a name has a number. */
function anchorsOf(page: string): string[] {
  const seen = new Map<string, number>()
  const named = [...page.matchAll(/<a id="([^"]+)">/g)].map(([, id]) => id as string)
  const headings = [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => {
    const anchor = (heading as string)
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-')
    const count = seen.get(anchor) ?? 0
    seen.set(anchor, count + 1)
    return count === 0 ? anchor : `${anchor}-${count}`
  })
  return [...named, ...headings]
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
