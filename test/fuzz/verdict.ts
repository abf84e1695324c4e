/** A failure of the library, or of the harness. */
export interface Failure {
  /** What found it. */
  readonly oracle: string
  /** The step, by its index and kind; -1 for the definition. */
  readonly step: number
  readonly kind: string
  readonly detail: string
}

/** What must never happen, however odd the call. */
const grave = new Set([
  'sent',
  'shown',
  'uncaught',
  'hangs',
  'ended',
  'unreadable',
  'changed',
  'index',
  'records',
  'definition',
  'harness',
])

/**
 * Whether a failure is one: plaintext sent or shown, a value lost or changed without an error, a process that ends. Anything else, an
 * error that the twin does not throw or throws otherwise, or a value more than it has, is a difference for people to look at.
 */
export function isGrave({ oracle, detail }: Failure): boolean {
  return grave.has(oracle) || (/^(values|result)$/.test(oracle) && !/ is extra: /.test(detail))
}

/** Failures of one cause have one signature, as far as that can be told. */
export function signatureOf({ oracle, kind, detail }: Failure): string {
  const general = detail
    .split('\n')[0]!
    .replace(/for value .*?( at path|$)/, 'for value …$1')
    .replace(/zq\w{7}x/gi, '…')
    .replace(/\b[0-9a-f]{24}\b/g, '…')
    .replace(/\bS\d+P?(Kid)?\b/g, 'Model')
    .replace(/\b\d{8,}\b/g, '…')
    .replace(/the twin has .*/, '')
    .replace(/Model\/\S+/g, 'Model/…')
    .replace(/\.\d+/g, '.…')
    .replace(/\b(one|contacts|byName\.a)\.(?=\w+ is )/, '')
  // What a record lost depends on how it was written; an error is the same whoever meets it.
  return `${oracle} | ${['values', 'result', 'refused', 'accepted', 'index'].includes(oracle) ? familyOf(kind) : 'any'} | ${general}`
}

/**
 * Where the twins are known to differ, each with its reason; by the signature of the difference. Nothing is sent in the clear in any
 * of them, and no record becomes unreadable.
 */
const knownDifferences: readonly {
  readonly signature: RegExp
  /** What it must say besides, where the signature alone could hide another difference. */
  readonly when?: (failure: Failure) => boolean
  readonly why: string
}[] = [
  {
    signature: /^result \| creating \| (insertedCount|it) is other: $/,
    when: ({ kind, detail }) => kind.startsWith('insertMany') && /"?number \d+"?/.test(detail),
    why: 'unordered, insertMany() leaves out what is not valid, and what is no object is not valid in the place of one',
  },
  {
    signature: /^values \| creating \| history\.… is other: $/,
    when: ({ detail }) => detail.endsWith('the twin has null, the encrypted record {}'),
    why: 'Mongoose 8.17 stores null for an empty object within an array',
  },
  {
    signature: /^result \| Model\.castObject \| cast\.history\.… is other: $/,
    why: 'castObject() of Mongoose makes an empty subdocument of what is no object, and this library leaves it as it is',
  },
  {
    signature: /^values \| \w+ \| (\S+\.)?any is other: $/,
    when: ({ detail }) => /the twin has \{"0":".*, the encrypted record "/.test(detail),
    why: 'a text that is an object is stored as an object of its letters by some ways of Mongoose, and as the text by others',
  },
  {
    signature: /^values \| creating \| history(\.…)? is other: $/,
    when: ({ detail }) => /the twin has (\["zq|"zq)/.test(detail),
    why: 'where nothing is strict, Mongoose keeps a function toBSON of what is given for an element, and stores what it gives',
  },
  {
    signature: /^hangs /,
    when: ({ detail }) => /^S\d+P /.test(detail),
    why: 'Mongoose itself does not answer',
  },
  {
    signature: /^values \| creating \| (tags|history|grid) is extra: $/,
    why: 'an array that is given as undefined is stored with its default, where the schema is not strict',
  },
  {
    signature:
      /^threw( otherwise)? \| any \| \w+: (.* failed: )?([\w.…]+: )?Cast to (Object|Embedded|Map) failed for value … at path "(address|profile|meta)"/,
    why: 'what is no object is an error in the place of one; Mongoose passes over it, or stores it as it is, or says so otherwise',
  },
]

export function knownDifference(signature: string, failure: Failure): string | undefined {
  return knownDifferences.find((each) => each.signature.test(signature) && each.when?.(failure) !== false)?.why
}

/** Steps that differ in little more than their arguments. */
function familyOf(kind: string): string {
  if (/create|new|^insert/i.test(kind)) return 'creating'
  if (/update|bulkWrite|replace|query/i.test(kind)) return 'updating'
  return /save|overwrite|set|ignore/.test(kind) ? 'saving' : kind
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
const twinMayThrow: readonly {
  readonly when: (error: any, step: { text: string; matchesNone: boolean }) => boolean
  readonly why: string
}[] = [
  {
    when: ({ name }) => name === 'VersionError',
    why: 'an encrypted array is stored as a whole, so that no position in it can be out of date',
  },
  {
    when: ({ name, message }) => name === 'StrictModeError' && /encrypted_kms_key/.test(message),
    why: 'the key path is a path of the encrypted schema alone',
  },
  {
    when: ({ message }) => /serialize a BigInt/.test(message),
    why: 'JSON leaves encrypted fields out, and with them the big integer that has no JSON',
  },
  {
    when: ({ code, name }, { matchesNone }) => matchesNone && (code === 40 || name === 'TypeError'),
    why: 'no record matches, so that nothing is cast or sent in which an error could be found',
  },
  {
    when: ({ code }, { text }) => code === 40 && text.includes('$setOnInsert'),
    why: 'the record is there, so that what is for an insert is not sent and conflicts with nothing',
  },
]

/** Errors of Mongoose that say the same, each in its own way. */
export function saysTheSame(plain: any, ours: any): boolean {
  if (nameOf(plain) === nameOf(ours)) return true
  // A crash of Mongoose's own casts, which a field of this library reports as an error of the value.
  if (plain?.name === 'TypeError' && ['CastError', 'ValidationError'].includes(ours?.name)) return true
  // What Mongoose throws of a nested object at once is found by the validation of the field here.
  if (plain?.name === 'ObjectExpectedError' && ours?.name === 'ValidationError') return true
  if (plain?.name === 'StrictModeError' && /StrictModeError/.test(ours?.message)) return true
  // Where nothing is versioned, a record that is gone is just not found.
  return plain?.name === 'VersionError' && ours?.name === 'DocumentNotFoundError'
}

export function mayThrow(error: any, text: string, matchesNone: boolean): string | undefined {
  return twinMayThrow.find(({ when }) => when(error, { text, matchesNone }))?.why
}

/** Steps in which there is nothing to refuse, whatever came before. */
const harmless = new Set([
  'rotateKmsKey',
  'decrypt',
  'show',
  'findById',
  'reload',
  'change beside, save',
  '$clone',
  'ask by value',
])

/**
 * Why a refusal is a failure after all: the database is whole, so that keys and ciphertexts verify, unless the step itself
 * brings foreign ones.
 */
export function isWrongRefusal(code: string, kind: string, source: string): boolean {
  if (code === 'RECORD_CHANGED' || /raw\(|planted|Binary|_doc/.test(source)) return false
  return harmless.has(kind) || /^(KMS_|WRAPPED_|DATA_KEY_|ENVELOPE_|PLAINTEXT_FOUND)/.test(code)
}

/** Errors after which a document at hand is what it was before: others leave Mongoose's own marks. */
export function leavesDocument(error: any): boolean {
  return ['ValidationError', 'CastError', 'StrictModeError'].includes(error?.name)
}

/** Steps of several writes, of which some may have been made when a later one is refused. */
const partial = new Set([
  'transaction',
  'two updates side by side',
  'query, twice',
  'create of several',
  'new from another',
  'rotateKmsKey beside save',
  'put back',
])

/** Steps whose values Mongoose stores as they are given, and this library as the schema has them. */
export const uncast = new Set(['Model.collection, written', 'insertMany, lean'])

/** Whether something may have been written though the step was refused. What is refused before it is sent changes nothing. */
export function mayBePartial(kind: string, code: string): boolean {
  return (
    partial.has(kind) ||
    code === 'UPDATE_INCOMPLETE' ||
    (code === 'RECORD_CHANGED' && /bulk|insertMany|updateMany/i.test(kind))
  )
}
