import { Skip, type Subject } from './subject'

/** What a step came to, on one twin. */
export type Outcome = { readonly value: unknown } | { readonly error: any }

/** A failure, before it is known at which step. */
export class Found extends Error {
  constructor(
    readonly oracle: string,
    readonly detail: string,
  ) {
    super(`${oracle}: ${detail}`)
  }
}

/** Ends a sequence without a failure: the twins are rightly no longer alike. */
export class Parted extends Error {}

/** Far more than any step takes, and less than a person waits. */
const timeoutMs = 10_000

/** @throws {Found} hangs, where there is no answer */
export async function outcomeOf(subject: Subject, source: string): Promise<Outcome> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Found('hangs', `${subject.name} does not answer within ${timeoutMs / 1000} s`)),
      timeoutMs,
    )
  })
  try {
    return { value: await Promise.race([subject.run(source), late]) }
  } catch (error) {
    if (error instanceof Found) throw error
    return { error }
  } finally {
    clearTimeout(timer)
  }
}

export function isSkip(outcome: Outcome): boolean {
  return 'error' in outcome && outcome.error instanceof Skip
}
