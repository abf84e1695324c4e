import type { EncryptionContext } from './params'

/** A statement of an identity-based policy, as far as the policies of this repository use the language. */
export interface Statement {
  readonly Sid?: string
  readonly Effect: 'Allow' | 'Deny'
  readonly Action: string | readonly string[]
  readonly Resource: string | readonly string[]
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>
}

export interface PolicyDocument {
  readonly Version: '2012-10-17'
  readonly Statement: readonly Statement[]
}

/** What is asked for: `kms:Decrypt` of a key, under an encryption context. */
export interface Request {
  readonly action: string
  readonly resource: string
  readonly context: EncryptionContext
}

type Operator = (actual: string | undefined, expected: readonly string[]) => boolean

/** The condition operators that are used; another one fails, rather than being taken for met. */
const operators: Readonly<Record<string, Operator>> = {
  StringEquals: (actual, expected) => actual !== undefined && expected.includes(actual),
  StringLike: (actual, expected) => actual !== undefined && expected.some((pattern) => isLike(pattern, actual)),
  Null: (actual, [expected]) => String(actual === undefined) === expected,
}

/** Whether policies allow a request: an explicit denial wins, and what nothing allows is denied. */
export function isAllowed(policies: readonly PolicyDocument[], request: Request): boolean {
  const effects = policies.flatMap(({ Statement }) => Statement.filter((each) => applies(each, request)))
  return effects.some(({ Effect }) => Effect === 'Allow') && effects.every(({ Effect }) => Effect === 'Allow')
}

function applies({ Action, Resource, Condition = {} }: Statement, { action, resource, context }: Request): boolean {
  const isNamed = (patterns: string | readonly string[], name: string) =>
    listOf(patterns).some((pattern) => isLike(pattern, name))
  if (!isNamed(Action, action) || !isNamed(Resource, resource)) return false
  return Object.entries(Condition).every(([operator, keys]) =>
    Object.entries(keys).every(([key, expected]) => {
      const name = /^kms:EncryptionContext:(.+)$/.exec(key)?.[1]
      const test = operators[operator]
      if (!test || name === undefined) throw new Error(`The stand-in knows no condition ${operator} on ${key}`)
      return test(context[name], listOf(expected))
    }),
  )
}

function listOf(values: string | readonly string[]): readonly string[] {
  return typeof values === 'string' ? [values] : values
}

/** `*` stands for any text, and `?` for one character. */
function isLike(pattern: string, text: string): boolean {
  const source = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${source}$`, 's').test(text)
}
