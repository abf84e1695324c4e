import { smaller, statements } from './code'
import type { Sequence } from './sequence'
import { type Failure, signatureOf } from './verdict'

/** How many smaller sequences are tried: a log that is short enough to read need not be the shortest. */
const maxTries = 250

/** Leaves out whatever is not needed for a failure: steps, then statements, arguments and parts of the definition. */
export async function shrink(
  sequence: Sequence,
  failure: Failure,
  fails: (sequence: Sequence) => Promise<Failure | undefined>,
  end: number,
): Promise<{ sequence: Sequence; failure: Failure }> {
  const signature = signatureOf(failure)
  let best = { sequence: { ...sequence, steps: sequence.steps.slice(0, failure.step + 1) }, failure }
  let tries = 0
  for (let found = true; found; ) {
    found = false
    for (const candidate of candidates(best.sequence, !['sent', 'shown'].includes(failure.oracle))) {
      if (++tries > maxTries || Date.now() > end) return best
      const again = await fails(candidate)
      if (!again || signatureOf(again) !== signature) continue
      best = { sequence: { ...candidate, steps: candidate.steps.slice(0, again.step + 1) }, failure: again }
      found = true
      break
    }
  }
  return best
}

function* candidates(sequence: Sequence, canChange: boolean): Generator<Sequence> {
  const { steps, definition } = sequence
  for (let index = steps.length - 2; index >= 0; index--) {
    yield { ...sequence, steps: steps.filter((_, each) => each !== index) }
  }
  // What is no longer encrypted may be sent.
  for (const less of canChange ? smaller(statements([...definition])) : []) {
    if (typeof less === 'string' || !('items' in less)) continue
    yield { ...sequence, definition: less.items }
  }
  for (const [index, step] of steps.entries()) {
    for (const source of smaller(step.source)) {
      yield { ...sequence, steps: steps.map((each, at) => (at === index ? { ...step, source } : each)) }
    }
  }
}
