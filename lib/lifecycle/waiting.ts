import { setTimeout } from 'node:timers/promises'

/** Waits for some of the time that it is given, or until the signal is aborted: where several processes wait, not all of them go on at once. */
export async function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await setTimeout(ms * (0.5 + Math.random() / 2), undefined, { ...(signal && { signal }) }).catch(() => {})
}
