/** What a step came to, on one twin. */
export type Outcome = { readonly value: unknown } | { readonly error: any }

/** A failure of the library, or of the harness. */
export interface Failure {
  /** What found it. */
  readonly oracle: string
  /** The step, by its index and kind; -1 for the definition. */
  readonly step: number
  readonly kind: string
  readonly detail: string
}

/** Failures of one cause have one signature, as far as that can be told. */
export function signatureOf({ oracle, kind, detail }: Failure): string {
  const general = detail
    .split('\n')[0]!
    .replace(/zq\w{7}x/gi, '…')
    .replace(/\b[0-9a-f]{24}\b/g, '…')
    .replace(/\bS\d+(Kid)?\b/g, 'Model')
    .replace(/\b\d{8,}\b/g, '…')
    .replace(/the twin has .*/, '')
    .replace(/Model\/\S+/g, 'Model/…')
    .replace(/\.\d+/g, '.…')
  return `${oracle} | ${kind} | ${general}`
}

/** The library's own refusals, known by their shape: a second copy of its classes would be no less right. */
export function refusalOf(error: any): string | undefined {
  const names = ['ConfigurationError', 'KeyProviderError', 'DecryptionError', 'RecordError', 'OperationError']
  for (let each = error; each; each = each.cause) {
    if (names.includes(each.name) && typeof each.code === 'string') return each.code
    // In a ValidationError, by path.
    const inner = Object.values<any>(each.errors ?? {}).find((one) => names.includes(one.reason?.name ?? one.name))
    if (inner) return inner.reason?.code ?? inner.code
  }
  return undefined
}

export function nameOf(error: any): string {
  return typeof error?.code === 'number' ? `${error.name} ${error.code}` : String(error?.name ?? error)
}

/**
 * Where the plain twin throws and the encrypted one need not, each with its reason. The sequence ends there, since the
 * twins are no longer alike.
 */
const twinMayThrow: readonly { readonly when: (error: any) => boolean; readonly why: string }[] = [
  {
    when: ({ name }) => name === 'VersionError',
    why: 'an encrypted array is stored as a whole, so that no position in it can be out of date',
  },
  {
    when: ({ name, message }) => name === 'StrictModeError' && /encrypted_kms_key/.test(message),
    why: 'the key path is a path of the encrypted schema alone',
  },
  {
    when: ({ code }) => code === 17419 || code === 15 || code === 2,
    why: 'the server refuses an operator for the type that is stored',
  },
]

export function mayThrow(error: any): string | undefined {
  return twinMayThrow.find(({ when }) => when(error))?.why
}

/** Errors after which a document at hand is what it was before: others leave Mongoose's own marks. */
export function leavesDocument(error: any): boolean {
  return ['ValidationError', 'CastError', 'StrictModeError'].includes(error?.name)
}

/** Steps of several writes, of which some may have been made when a later one is refused. */
export const partial = new Set([
  'transaction',
  'two updates side by side',
  'query, twice',
  'create of several',
  'new from another',
  'rotateKmsKey beside save',
])
