import type { SchemaDefinitionProperty } from 'mongoose'
import type { EncryptionContext } from '../format/context'
import type { CacheOptions } from '../kms/manager'
import type { KeyProvider } from '../kms/provider'

/** A KMS key: a key id, ARN, alias or alias ARN, or a function of the record that gives one. */
export type KeyIdOption<Doc = any> = string | ((record: Doc) => string)

/** Gives the encryption context of a record: what KMS logs and what IAM can put conditions on. */
export type ContextOption<Doc = any> = (record: Doc) => EncryptionContext

/** An earlier generation of key and context: its records are still read, and no longer written. */
export interface PreviousVersion<Doc = any> {
  readonly keyId?: KeyIdOption<Doc>
  readonly context?: ContextOption<Doc>
}

/**
 * When a record is opened. `'onAccess'`: the virtual of a locked record returns a promise, and awaiting it opens the
 * record. `'onLoad'`: find hooks open the records first, and virtuals are plain values.
 */
export type DecryptOption = 'onAccess' | 'onLoad'

/**
 * The encrypted fields: an ordinary Mongoose schema definition, or an array of names, each a `String`. `Name` is there
 * so that TypeScript infers the names themselves and not just `string`, without `as const`.
 */
export type FieldsOption<Name extends string = string> =
  | { readonly [field: string]: SchemaDefinitionProperty }
  | readonly Name[]

/** The options of `schema.plugin(kmsEncrypted, options)`. */
export interface KmsEncryptedOptions<Fields = FieldsOption, Mode extends DecryptOption = DecryptOption, Doc = any> {
  /** The KMS key that wraps the data keys. Required unless the provider has one of its own. */
  readonly keyId?: KeyIdOption<Doc> | undefined
  /** Default: `awsKms()`. */
  readonly provider?: KeyProvider
  /** An ordinary Mongoose schema definition of the encrypted fields, or an array of names, each a `String`. */
  readonly fields: Fields
  /** Default: `{ Record: '<base model name>/<_id>' }`. */
  readonly context?: ContextOption<Doc>
  /** Default: `'onAccess'`. */
  readonly decrypt?: Mode
  /** Names a second, third… data key on the same schema; its path is `encrypted_kms_key_<name>`. */
  readonly name?: string
  /** The current generation of key and context, a positive integer. Default 1. */
  readonly version?: number
  /** Earlier generations by their number. */
  readonly previousVersions?: Readonly<Record<number, PreviousVersion<Doc>>>
  /** Where the wrapped keys are stored. Default: `encrypted_kms_key`. */
  readonly keyPath?: string
  /** Where the ciphertext of a field is stored. Default: `encrypted_<field>`. */
  readonly ciphertextPath?: (field: string) => string
  /** Keeps opened data keys across records and requests. Off by default: a cached read leaves no line in CloudTrail. */
  readonly cache?: CacheOptions
}
