import type { EncryptionContext } from './params'

/** What a policy condition or a fault can look at. */
export interface Access {
  /** As in the API: `Decrypt`, `ReEncrypt`, … */
  readonly operation: string
  /** ARN of the key; as long as no key has been looked up, as sent. */
  readonly keyId: string | undefined
  readonly context: EncryptionContext
  /** Access key id of the caller. */
  readonly principal: string
}

/** All members given must match; `context` matches when it contains at least these pairs. */
export interface Conditions {
  operation?: string
  /** Key ARN or bare key id. */
  keyId?: string
  context?: EncryptionContext
  principal?: string
}

export type Filter = Conditions | ((access: Access) => boolean)

export function matches(filter: Filter, access: Access): boolean {
  if (typeof filter === 'function') return filter(access)
  const { operation, keyId, context = {}, principal } = filter
  return (
    (operation === undefined || operation === access.operation) &&
    (keyId === undefined || access.keyId === keyId || access.keyId?.endsWith(`:key/${keyId}`) === true) &&
    (principal === undefined || principal === access.principal) &&
    Object.entries(context).every(([key, value]) => access.context[key] === value)
  )
}
