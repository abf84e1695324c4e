/** What was done in a run, by kind: figures that show that it did something. */
export class Tally {
  sequences = 0
  steps = 0
  skipped = 0
  readonly kinds: Record<string, Record<string, number>> = {}
  readonly refusals: Record<string, Record<string, number>> = {}
  readonly notes: Record<string, number> = {}

  count(kind: string, outcome: 'done' | 'both failed' | 'refused'): void {
    this.steps++
    raise(within(this.kinds, kind), outcome)
  }

  refuse(code: string, kind: string): void {
    raise(within(this.refusals, code), kind)
  }

  note(text: string): void {
    raise(this.notes, text)
  }

  add(other: Tally): void {
    this.sequences += other.sequences
    this.steps += other.steps
    this.skipped += other.skipped
    for (const name of ['kinds', 'refusals'] as const) {
      for (const [key, counts] of Object.entries(other[name])) {
        for (const [each, count] of Object.entries(counts)) raise(within(this[name], key), each, count)
      }
    }
    for (const [text, count] of Object.entries(other.notes)) raise(this.notes, text, count)
  }
}

function raise(counts: Record<string, number>, name: string, by = 1): void {
  counts[name] = (counts[name] ?? 0) + by
}

function within(groups: Record<string, Record<string, number>>, name: string): Record<string, number> {
  groups[name] ??= {}
  return groups[name]
}
