import { ConfigurationError } from '../errors'
import type { AllowKeyIdsOption, KeyIdOption } from './options'

/** Whether a stored data key of a generation that names this KMS key is opened, and whether a new one may be under it. */
export type Allows = (keyId: string, version: number) => boolean

/** The ARN of a key, not of an alias: what KMS answers, and what is stored. */
const keyArn = /^arn:[\w-]+:kms:[\w-]+:\d+:key\/[\w-]+$/

/** A Multi-Region key has one name in all its regions but for the region. */
const multiRegion = /^(arn:[\w-]+:kms:)[\w-]+(:\d+:key\/mrk-)/

/**
 * Which KMS keys a use of the plugin trusts: those of `allowKeyIds`; without it for each generation its own, where all are named by
 * full ARNs; else any that IAM lets this principal use.
 *
 * @param keyIds the option `keyId` of all generations, by their version
 * @throws {ConfigurationError} OPTION_INVALID
 */
export function makeTrust(option: AllowKeyIdsOption | undefined, keyIds: ReadonlyMap<number, KeyIdOption>): Allows {
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
    const allowed = new Set(option.map(withoutRegion))
    const own = [...keyIds.values()].find((keyId) => isArn(keyId) && !allowed.has(withoutRegion(keyId)))
    if (own !== undefined)
      throw new ConfigurationError(
        'OPTION_INVALID',
        `kmsEncrypted: allowKeyIds does not have ${own}, which the options name as keyId. Add it: the list holds for all keys.`,
      )
    return (keyId) => allowed.has(withoutRegion(keyId))
  }
  if (![...keyIds.values()].every(isArn)) return () => true
  return (keyId, version) => {
    const own = keyIds.get(version)
    return own === undefined || own === keyId || withoutRegion(own as string) === withoutRegion(keyId)
  }
}

function isArn(keyId: KeyIdOption): keyId is string {
  return typeof keyId === 'string' && keyArn.test(keyId)
}

function withoutRegion(keyId: string): string {
  return keyId.replace(multiRegion, '$1*$2')
}
