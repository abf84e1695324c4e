import { KmsError } from './errors'
import { type Access, type Filter, matches } from './filter'
import { isAllowed, type PolicyDocument } from './iam'
import { ACCOUNT } from './keys'

/** A statement of the key policy that can be taken back. */
export interface Denial {
  lift(): void
}

/**
 * Everybody may do everything, except what a denial matches, `"Effect": "Deny"` with `kms:EncryptionContext:*`; a principal with policies of
 * its own may do what those allow.
 */
export class Policy {
  readonly #denials = new Set<Filter>()
  readonly #attached = new Map<string, readonly PolicyDocument[]>()

  deny(filter: Filter): Denial {
    // Wrapped, because the same filter may be denied twice and lifted once.
    const denial: Filter = (access) => matches(filter, access)
    this.#denials.add(denial)
    return { lift: () => this.#denials.delete(denial) }
  }

  /** Limits a principal to what policies allow. */
  attach(principal: string, policies: readonly PolicyDocument[]): void {
    this.#attached.set(principal, policies)
  }

  /**
   * @param action of IAM, which is the operation's name but for `ReEncrypt`
   * @throws {KmsError} AccessDeniedException
   */
  authorize(access: Access & { readonly keyId: string }, action = access.operation): void {
    const user = `arn:aws:iam::${ACCOUNT}:user/${access.principal}`
    const refusal = `User: ${user} is not authorized to perform: kms:${action} on resource: ${access.keyId}`
    const attached = this.#attached.get(access.principal)
    const request = { action: `kms:${action}`, resource: access.keyId, context: access.context }
    if (attached && !isAllowed(attached, request)) {
      throw new KmsError(
        'AccessDeniedException',
        `${refusal} because no identity-based policy allows the kms:${action} action`,
      )
    }
    for (const denial of this.#denials) {
      if (matches(denial, access)) {
        throw new KmsError('AccessDeniedException', `${refusal} with an explicit deny in a resource-based policy`)
      }
    }
  }
}
