/**
 * What the value of a box was made of, and so what a write of it takes the place of. What another process has made of the same meanwhile would be
 * lost with that write: it is tied to what is stored being that still. A value that was given as a whole takes the place of whatever there is.
 */
export interface Basis {
  readonly replaces: 'anything' | 'nothing' | 'value'
  /** Whether nobody has set the value: it is there because nothing is stored. */
  readonly isDefault: boolean
  /** The plaintext that it was made of, once it is another. */
  readonly plaintext: Uint8Array | undefined
  /** The envelopes of the writes since the last that is known to be made: each may have been made though it failed. */
  readonly sent: readonly Uint8Array[]
}

const none: readonly never[] = Object.freeze([])

function basis(replaces: Basis['replaces'], isDefault = false): Basis {
  return Object.freeze({ replaces, isDefault, plaintext: undefined, sent: none })
}

/** All of it was given. */
export const asGiven = basis('anything')
/** It is what is stored. */
export const asLoaded = basis('value')
/** It is a part of what was not there. */
export const ofNothing = basis('nothing')
export const byDefault = basis('nothing', true)

/** The same once an envelope of the value has been made, for which others look where it may be lost. */
export function withSent(known: Basis, envelope: Uint8Array): Basis {
  if (known.replaces !== 'nothing' && !known.plaintext) return known
  return { ...known, sent: [...known.sent, envelope] }
}
