import { SingleBar } from 'cli-progress'

/** A progress bar with rate and remaining time, on a terminal. */
export class Bar {
  readonly #bar: SingleBar
  readonly #total: number
  readonly #startedAt = performance.now()

  constructor(stream: NodeJS.WriteStream, label: string, total: number) {
    this.#total = total
    this.#bar = new SingleBar({
      stream,
      format: `${label} {bar} {percentage}% | {value}/{total}{failures} | {pace}`,
      barCompleteChar: '\u2588',
      barIncompleteChar: '\u2591',
      barsize: 24,
      // Signals are for the job, which may be ended at once: the terminal must be as it was.
      gracefulExit: false,
      hideCursor: false,
      linewrap: true,
    })
    this.#bar.start(total, 0, { failures: '', pace: paceOf(0, total, 0) })
  }

  update(processed: number, failed: number): void {
    // There may have come more than there were.
    const total = Math.max(this.#total, processed)
    if (total > this.#total) this.#bar.setTotal(total)
    const pace = paceOf(processed, total, performance.now() - this.#startedAt)
    this.#bar.update(processed, { failures: failed > 0 ? `, ${failed} failed` : '', pace })
  }

  stop(): void {
    this.#bar.stop()
  }
}

/** The rate up to now, and how long the rest takes at this rate: `212/s | 0:03 left`. */
export function paceOf(processed: number, total: number, elapsedMs: number): string {
  if (processed === 0 || elapsedMs === 0) return '…'
  const perSecond = processed / (elapsedMs / 1000)
  const rate = perSecond >= 1 ? `${Math.round(perSecond)}/s` : `${Math.round(60 * perSecond)}/min`
  return `${rate} | ${clock((total - processed) / perSecond)} left`
}

function clock(seconds: number): string {
  const whole = Math.ceil(seconds)
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (number: number) => String(number).padStart(2, '0')
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}
