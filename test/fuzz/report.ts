import type { Report } from './fuzz'
import { isGrave } from './verdict'

/** What a run did and found, for people. */
export function textOf({ tally, findings, seconds }: Report, seed: number): string {
  const lines = [
    `${tally.sequences} sequences, ${tally.steps} steps in ${seconds.toFixed(1)} s (${Math.round(tally.steps / seconds)} steps/s), ${tally.skipped} steps had no document at hand`,
    '',
    '    done  both failed  refused  step',
  ]
  for (const [kind, { done = 0, 'both failed': failed = 0, refused = 0 }] of sorted(tally.kinds)) {
    lines.push(`${String(done).padStart(8)}${String(failed).padStart(13)}${String(refused).padStart(9)}  ${kind}`)
  }
  lines.push('', 'refused by the library:')
  for (const [code, kinds] of sorted(tally.refusals)) {
    const counts = Object.entries(kinds).sort(([, one], [, other]) => other - one)
    lines.push(`  ${code}: ${counts.map(([kind, count]) => `${count} ${kind}`).join(', ')}`)
  }
  for (const [text, count] of sorted(tally.notes)) lines.push(`  ${count} × ${text}`)
  for (const [signature, { failure, index, log, count }] of findings) {
    const title = isGrave(failure) ? 'FAILURE' : 'DIFFERENCE'
    lines.push('', `${title} ${signature} (${count} ×, first in sequence ${index} of seed ${seed})`)
    lines.push(indent(`step ${failure.step + 1}, ${failure.oracle}: ${failure.detail}`), indent(log))
  }
  const verdict = findings.size === 0 ? 'the twins are alike' : `the twins DIFFER in ${findings.size} ways`
  return [...lines, '', verdict].join('\n')
}

function sorted<T>(counts: Record<string, T>): [string, T][] {
  return Object.entries(counts).sort(([one], [other]) => (one < other ? -1 : 1))
}

function indent(text: string): string {
  return text.replace(/^/gm, '    ')
}
