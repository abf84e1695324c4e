import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beyondInFloors, outcomeOf } from '../bench/goal'
import { keep, sectionOf } from '../bench/report'
import { summaryOf } from '../bench/statistics'

// How `npm run bench` makes ratios of what it measured, and keeps them.

test('rounds are summed up by their median and where the middle half of them is', () => {
  expect(summaryOf([9, 1, 3, 7, 5])).toEqual({ median: 5, low: 3, high: 7 })
  expect(summaryOf([4, 1, 2, 3])).toEqual({ median: 2.5, low: 1.75, high: 3.25 })
  expect(summaryOf([2])).toEqual({ median: 2, low: 2, high: 2 })
  expect(() => summaryOf([])).toThrow('nothing was measured')
})

test('what is beyond plain is counted in floors', () => {
  expect(beyondInFloors(170, 50, 40)).toBe(3)
})

test.each([
  [{ limit: 2 }, [1, 2, 9], true],
  [{ limit: 2 }, [1, 2.1, 9], false],
  [{ limit: 0.7, isLeast: true }, [0.1, 0.7, 0.9], true],
  [{ limit: 0.7, isLeast: true }, [0.1, 0.69, 0.9], false],
])('a goal %o is for the median of %o: %s', (goal, ratios, isMet) => {
  expect(outcomeOf({ what: 'a ratio', ...goal }, ratios)).toMatchObject({ isMet })
})

test('a run replaces the sections that it had, and leaves the others, in the order of all', () => {
  const directory = mkdtempSync(join(tmpdir(), 'bench-'))
  const file = join(directory, 'results.md')
  const titles = ['Save', 'Read', 'Find']
  const write = (title: string, note: string) => keep(file, title, sectionOf(title, 'here', { notes: [note] }), titles)
  const sections = () => readFileSync(file, 'utf8').match(/^## .*|^note .*/gm)
  try {
    write('Find', 'note 1')
    write('Save', 'note 2')
    write('Find', 'note 3')
    expect(sections()).toEqual(['## Save', 'note 2', '## Find', 'note 3'])
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('a section shows each goal beside what was measured', () => {
  const goals = [outcomeOf({ what: 'a ratio', limit: 2 }, [3, 4, 5])]
  expect(sectionOf('Save', 'here', { goals })).toContain(
    '| a ratio | 4.00     | 3.50 – 4.50           | ≤ 2    | **no** |',
  )
})
