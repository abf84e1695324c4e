import { ConfigurationError } from '../errors'
import type { AllowKeyIdsOption, KeyIdOption } from './options'

/** Whether a stored data key that names this KMS key is opened, and whether a new one may be under it. */
export type Allows = (keyId: string) => boolean

/** The ARN of a key, not of an alias: what KMS answers, and what is stored. */
const keyArn = /^arn:[\w-]+:kms:[\w-]+:\d+:key\/[\w-]+$/

/** A Multi-Region key has one name in all its regions but for the region. */
const multiRegion = /^(arn:[\w-]+:kms:)[\w-]+(:\d+:key\/mrk-)/

/**
 * Which KMS keys a use of the plugin trusts: those of `allowKeyIds`; without it those of the configuration, where all are named by
 * full ARNs; else any that IAM lets this principal use.
 *
 * @param keyIds the option `keyId` of all generations
 * @throws {ConfigurationError} OPTION_INVALID
 */
export function makeTrust(option: AllowKeyIdsOption | undefined, keyIds: readonly KeyIdOption[]): Allows {
  if (typeof option === 'function') return (keyId) => option(keyId) === true
  if (option !== undefined) {
    if (
      !Array.isArray(option) ||
      option.length === 0 ||
      !option.every((each) => typeof each === 'string' && each !== '')
    )
      throw new ConfigurationError(
        'OPTION_INVALID',
        'kmsEncrypted: allowKeyIds must be a list of key ARNs, or a function that says whether a key id is allowed.',
      )
    const alias = option.find((each) => /(^|:)alias\//.test(each))
    if (alias !== undefined)
      throw new ConfigurationError(
        'OPTION_INVALID',
        `kmsEncrypted: allowKeyIds has the alias ${alias}. What is stored is the ARN of the key behind it: give that.`,
      )
    return among(option)
  }
  const isNamed = keyIds.every((keyId) => typeof keyId === 'string' && keyArn.test(keyId))
  return isNamed ? among(keyIds as readonly string[]) : () => true
}

function among(keyIds: readonly string[]): Allows {
  const allowed = new Set(keyIds.map(withoutRegion))
  return (keyId) => allowed.has(withoutRegion(keyId))
}

function withoutRegion(keyId: string): string {
  return keyId.replace(multiRegion, '$1*$2')
}
