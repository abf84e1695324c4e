import { readFileSync } from 'node:fs'
import { commands } from '../../lib/cli/commands'
import { exitCodes } from '../../lib/cli/outcome'
import { blocksOf, readPage } from '../docs/page'
import { pagePath, renderPage } from './page'

test('docs/lifecycle.md is what the commands say; write it with: node --import tsx test/cli/page.ts', () => {
  expect(readFileSync(pagePath, 'utf8')).toBe(renderPage())
  const codes = [...renderPage().matchAll(/^\| (\d+) \| [a-z]/gm)].map(([, code]) => Number(code))
  expect(codes).toEqual([...new Set(Object.values(exitCodes))])
})

test.each(['README.md', 'docs/lifecycle.md', 'docs/migration.md'])(
  '%s shows commands with options that they have',
  (page) => {
    const lines = blocksOf(readPage(page))
      .flatMap(({ language, text }) => (language === 'sh' ? text.split('\n') : []))
      .filter((line) => line.startsWith('npx mongoose-kms-encrypted '))
    expect(lines.length).toBeGreaterThan(0)
    for (const line of lines) {
      const [name, ...words] = line.split(' ').slice(2)
      const command = commands.find((each) => each.name === name)
      expect([line, command?.name]).toEqual([line, name])
      for (const word of words.filter((each) => each.startsWith('-')))
        expect([line, word, command?.options.some(({ long }) => long === word)]).toEqual([line, word, true])
      const missing = command?.options.filter(({ mandatory, long, defaultValue }) => {
        return mandatory && defaultValue === undefined && !words.includes(long as string)
      })
      expect([line, missing]).toEqual([line, []])
    }
  },
)
