import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The root of the repository. */
export const root = join(__dirname, '../..')

/** A fenced block of a page. */
export interface Block {
  /** What follows the opening fence: `ts`, `sh`, `json` or nothing. */
  readonly language: string
  readonly text: string
  /** Where it begins, for messages. */
  readonly line: number
}

export function readPage(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

export function blocksOf(page: string): Block[] {
  const blocks: Block[] = []
  let open: { language: string; lines: string[]; line: number } | undefined
  for (const [index, line] of page.split('\n').entries()) {
    if (!line.startsWith('```')) open?.lines.push(line)
    else if (open) {
      blocks.push({ language: open.language, text: open.lines.join('\n'), line: open.line })
      open = undefined
    } else open = { language: line.slice(3).trim(), lines: [], line: index + 1 }
  }
  if (open) throw new Error(`The block that begins on line ${open.line} has no end`)
  return blocks
}

/** What stands in a section of a page, from its heading to the next of the same or a higher level. */
export function sectionOf(page: string, heading: string): string {
  const lines = page.split('\n')
  const start = lines.indexOf(heading)
  if (start === -1) throw new Error(`There is no section "${heading}"`)
  const level = /^#+/.exec(heading)?.[0].length as number
  const isNext = (line: string) => (/^#+(?= )/.exec(line)?.[0].length ?? Number.POSITIVE_INFINITY) <= level
  const length = lines.slice(start + 1).findIndex(isNext)
  return lines.slice(start, length === -1 ? undefined : start + 1 + length).join('\n')
}
