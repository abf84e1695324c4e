import { KmsError } from './errors'
import { type Access, type Filter, matches } from './filter'
import { ACCOUNT } from './keys'

/** A statement of the key policy that can be taken back. */
export interface Denial {
  lift(): void
}

/** Everybody may do everything, except what a denial matches: `"Effect": "Deny"` with `kms:EncryptionContext:*`. */
export class Policy {
  readonly #denials = new Set<Filter>()

  deny(filter: Filter): Denial {
    // Wrapped, because the same filter may be denied twice and lifted once.
    const denial: Filter = (access) => matches(filter, access)
    this.#denials.add(denial)
    return { lift: () => this.#denials.delete(denial) }
  }

  /**
   * @param action of IAM, which is the operation's name but for `ReEncrypt`
   * @throws {KmsError} AccessDeniedException
   */
  authorize(access: Access & { readonly keyId: string }, action = access.operation): void {
    for (const denial of this.#denials) {
      if (matches(denial, access)) {
        const user = `arn:aws:iam::${ACCOUNT}:user/${access.principal}`
        throw new KmsError(
          'AccessDeniedException',
          `User: ${user} is not authorized to perform: kms:${action} on resource: ${access.keyId} with an explicit deny in a resource-based policy`,
        )
      }
    }
  }
}
