import { createInterface } from 'node:readline/promises'
import { Misuse } from './outcome'
import type { Surroundings } from './surroundings'

/** @throws {Misuse} where nobody can be asked */
export function requireAnswerable({ stdin, stderr }: Surroundings, yes: boolean): void {
  if (!yes && !(stdin.isTTY && stderr.isTTY))
    throw new Misuse(
      'What it does cannot be undone, and there is no terminal to ask on. Give --yes if it is to be done.',
    )
}

/**
 * Asks on the terminal whether something is to be done.
 *
 * @param signal ends it as a no
 */
export async function confirm(
  { stdin, stderr }: Surroundings,
  question: string,
  signal: AbortSignal,
): Promise<boolean> {
  const reader = createInterface({ input: stdin, output: stderr })
  const left = new AbortController()
  signal.addEventListener('abort', () => left.abort())
  reader.once('SIGINT', () => left.abort())
  reader.once('close', () => left.abort())
  try {
    return (await reader.question(`${question} Type yes to go on: `, { signal: left.signal })).trim() === 'yes'
  } catch {
    stderr.write('\n')
    return false
  } finally {
    reader.close()
  }
}
