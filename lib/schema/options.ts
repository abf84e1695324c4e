import type { SchemaDefinitionProperty } from 'mongoose'
import type { EncryptionContext } from '../format/context'
import type { CacheOptions } from '../kms/manager'
import type { KeyProvider } from '../kms/provider'
import type { CompoundIndexOptions } from '../search/declaration'

/** A KMS key: a key id, ARN, alias or alias ARN, or a function of the record that gives one. */
export type KeyIdOption<Doc = any> = string | ((record: Doc) => string)

/**
 * Gives the encryption context of a record: what KMS logs and what IAM can put conditions on. Its pairs are added to
 * `{ Record: '<base model name>/<_id>' }`; a `Record` among them takes the place of that one.
 *
 * @example (record) => ({ Tenant: record.tenant }) // { Record: 'User/65f0…', Tenant: 'acme' }
 */
export type ContextOption<Doc = any> = (record: Doc) => EncryptionContext

/**
 * Another generation of key and context, most often an earlier one: its records are read, and none are written under it. What it does not say is
 * as the options have it now: where `context` is new, give the one of before, ``(user) => ({ Record: `User/${user._id}` })`` if it was the default.
 */
export interface PreviousVersion<Doc = any> {
  readonly keyId?: KeyIdOption<Doc>
  readonly context?: ContextOption<Doc>
}

/**
 * When a record is opened. `'onAccess'`: the getter of a locked field returns a promise, and awaiting it opens the
 * record. `'onLoad'`: finds open the records first, and getters give plain values; of a field that could not be opened, the getter throws why.
 */
export type DecryptOption = 'onAccess' | 'onLoad'

/**
 * Under which data key the fields of a subdocument are encrypted. `'owner'`: under the data key of the record that
 * holds it, so that one opening of that record opens the subdocuments with it.
 */
export type DataKeyOption = 'owner'

/** Other names for what the plugin adds, where the application has methods or statics of those names already. */
export interface MethodsOption<Decrypt extends string = string, RotateKmsKey extends string = string> {
  /** The name of the document method and of the static `decrypt`. */
  readonly decrypt?: Decrypt
  /** The name of the document method and of the static `rotateKmsKey`. */
  readonly rotateKmsKey?: RotateKmsKey
}

/**
 * The encrypted fields: an ordinary Mongoose schema definition, or an array of names, each a `String`. `Name` is there
 * so that TypeScript infers the names themselves and not just `string`, without `as const`.
 */
export type FieldsOption<Name extends string = string> =
  | { readonly [field: string]: SchemaDefinitionProperty }
  | readonly Name[]

/**
 * Reads what another library has stored of a record: gives at once the values of fields by their names, those that are in the clear among them.
 * What is stored at a field for which it gives nothing is refused.
 */
export type FromOption = (stored: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>

/**
 * What a process does with encrypted fields. `'write-only'`: it needs `kms:GenerateDataKey` alone, gives every record that it writes a data key
 * that it made itself, and opens none. `'read-only'`: it needs `kms:Decrypt` alone, and encrypts nothing.
 */
export type AccessOption = 'read-write' | 'read-only' | 'write-only'

/** Which KMS keys are trusted: a list of key ARNs, or a function that says whether one is. */
export type AllowKeyIdsOption = readonly string[] | ((keyId: string) => boolean)

/** The options of `schema.plugin(kmsEncrypted, options)`. */
export interface KmsEncryptedOptions<
  Fields = FieldsOption,
  Mode extends DecryptOption = DecryptOption,
  Doc = any,
  Decrypt extends string = string,
  RotateKmsKey extends string = string,
> {
  /** The KMS key that wraps the data keys. Required unless the provider has one of its own. */
  readonly keyId?: KeyIdOption<Doc> | undefined
  /** Default: `awsKms()`. */
  readonly provider?: KeyProvider
  /** An ordinary Mongoose schema definition of the encrypted fields, or an array of names, each a `String`. */
  readonly fields: Fields
  /** Pairs of the encryption context besides the default, `{ Record: '<base model name>/<_id>' }`, or in its place. */
  readonly context?: ContextOption<Doc>
  /** Default: `'onAccess'`. */
  readonly decrypt?: Mode
  /**
   * Names a second, third… data key on the same schema; its path is `encrypted_kms_key_<name>`. With
   * `dataKey: 'owner'`, which of the owner's data keys is meant.
   */
  readonly name?: string
  /** The current generation of key and context, a positive integer. Default 1. */
  readonly version?: number
  /** Other generations that are read, by their number. */
  readonly previousVersions?: Readonly<Record<number, PreviousVersion<Doc>>>
  /**
   * The KMS keys under which a stored data key is opened and a new one made: a list of key ARNs, or a function. Default: those of
   * `keyId` and `previousVersions`, each for its version, where all of them are full key ARNs, else any that IAM lets this principal use.
   */
  readonly allowKeyIds?: AllowKeyIdsOption
  /**
   * The key of all blind indexes, as `createIndexKey()` gave it; or one for each `version` of them. Required where a field has one, but with
   * `localKms`. Every process that is to find the same records needs the same.
   */
  readonly indexKey?: string | Readonly<Record<number, string>> | undefined
  /** Blind indexes over several fields together, by name: `{ name_dob: { fields: ['name', 'dob'] } }`. */
  readonly blindIndexes?: Readonly<Record<string, CompoundIndexOptions>>
  /** Where the wrapped keys are stored. Default: `encrypted_kms_key`. */
  readonly keyPath?: string
  /**
   * Declares indexes on `keyId`, `version` and `createdAt` of the wrapped keys: `kmsStatus()` counts in them, and jobs find in them what there is
   * to do for, instead of reading all records. Default: false.
   */
  readonly indexKeys?: boolean
  /** Keeps opened data keys across documents and requests. Off by default: a cached read leaves no line in CloudTrail. */
  readonly cache?: CacheOptions
  /** Which of its duties this process has. What the others would need is refused, before the KMS is asked. Default: `'read-write'`. */
  readonly access?: AccessOption
  /** Refuses to open a record unless `withAudit()` has told an actor, to jobs as well. Default false. */
  readonly requireActor?: boolean
  /**
   * `'owner'`, for the schema of a subdocument: its fields are encrypted under the data key of the record that holds
   * it, that is under a use of this plugin on the owner's schema. Key, provider, context, generations, cache and key
   * path are the owner's then and cannot be given. By default every subdocument has a data key of its own.
   */
  readonly dataKey?: DataKeyOption
  /**
   * While records are stored in the clear that were there before the plugin: they are read, found by blind indexes, and encrypted with the next
   * write of the record. With `dataKey: 'owner'` the owner must migrate, too.
   */
  readonly migrating?: boolean
  /** While records migrate, reads what another library has encrypted. For records alone, and not for subdocuments. */
  readonly from?: FromOption
  /** The paths at which the other library keeps what is of no use when a record is encrypted: they are loaded with the fields, and then removed. */
  readonly fromPaths?: readonly string[]
  /** Other names for `decrypt` and `rotateKmsKey`, of documents and of models. */
  readonly methods?: MethodsOption<Decrypt, RotateKmsKey>
}
