import { writeSync } from 'node:fs'
import { openLab, type Target } from './lab'
import { Found, Parted } from './outcome'
import { drawSequence, logOf, type Sequence } from './sequence'
import { shrink } from './shrink'
import { Tally } from './tally'
import { Trial } from './trial'
import { type Failure, refusalOf, signatureOf } from './verdict'

/** What the program that started this one says. */
export interface Orders {
  readonly uri: string
  readonly database: string
  readonly target: Target
  readonly seed: number
  readonly from: number
  /** Milliseconds since the epoch. */
  readonly end: number
  /** Those before it are run even after the end. */
  readonly least: number
  readonly maxSequences: number
  /** Signatures that are known: they are counted and not shrunk again. */
  readonly known: readonly string[]
}

/** What is told, a line of JSON each, written at once: nothing is lost when the process ends in the middle. */
export type Told =
  | { readonly at: { readonly index: number; readonly step: number } }
  | { readonly failure: Failure; readonly signature: string; readonly index: number; readonly log: string }
  | { readonly tally: Tally; readonly next: number }

const tell = (told: Told) => writeSync(3, `${JSON.stringify(told)}\n`)
const shrinkMs = 8_000

async function main({ uri, database, target, seed, from, end, least, maxSequences, known }: Orders): Promise<void> {
  const lab = await openLab(uri, database, target)
  const seen = new Set(known)
  let number = 0
  let isHung = false
  const tryOut = async (sequence: Sequence, tally: Tally, onStep: (step: number) => void) => {
    let trial: Trial | undefined
    let step = -1
    const found = (oracle: string, detail: string): Failure => ({
      oracle,
      detail,
      step,
      kind: sequence.steps[step]?.kind ?? 'definition',
    })
    try {
      trial = new Trial(lab, tally, sequence, `S${++number}`)
      await trial.prepare()
      for (step = 0; step < sequence.steps.length; step++) {
        onStep(step)
        await trial.step(step)
      }
      return undefined
    } catch (error: any) {
      if (error instanceof Parted) return undefined
      isHung = error instanceof Found && error.oracle === 'hangs'
      if (error instanceof Found) return found(error.oracle, error.detail)
      const code = refusalOf(error)
      if (!trial && code) return void tally.refuse(code, 'definition')
      return found(trial ? 'harness' : 'definition', String(error?.stack))
    } finally {
      // What hangs may hold a transaction, for whose end the server would wait.
      if (!isHung) await trial?.discard()
      lab.uncaught.length = 0
    }
  }
  for (let index = from; (Date.now() < end || index < least) && index < from + maxSequences; index++) {
    const tally = new Tally()
    tally.sequences = 1
    const sequence = drawSequence(seed, index)
    const failure = await tryOut(sequence, tally, (step) => tell({ at: { index, step } }))
    if (failure) {
      const signature = signatureOf(failure)
      const isNew = !seen.has(signature)
      seen.add(signature)
      const silent = () => {}
      const least =
        isNew && !isHung
          ? await shrink(sequence, failure, (each) => tryOut(each, new Tally(), silent), Date.now() + shrinkMs)
          : { sequence, failure }
      tell({ failure: least.failure, signature, index, log: isNew ? logOf(least.sequence, least.failure.step) : '' })
      tell({ tally, next: index + 1 })
      // What has not answered may do so later, in the middle of something else.
      if (isHung) return
    } else tell({ tally, next: index + 1 })
  }
  await lab.close()
}

void main(JSON.parse(process.argv[2] as string)).then(
  () => process.exit(0),
  (error) => {
    console.error(error)
    process.exit(1)
  },
)
