import type {
  BufferToBinary,
  Default__v,
  DiscriminatorOptions,
  Document,
  FlattenMaps,
  HydratedDocument,
  InferSchemaType,
  mongo,
  ObtainDocumentType,
  ObtainSchemaGeneric,
  QueryWithHelpers,
  Require_id,
  TreatAsPrimitives,
  Types,
} from 'mongoose'
import type {
  JobOptions,
  JobResult,
  KmsStatus,
  MigrationOptions,
  MigrationResult,
  RecordKeyStatus,
  RotateOptions,
  StatusOptions,
  VerifyFailure,
  VerifyResult,
} from './jobs'
import type { DecryptOption, FieldsOption, KmsEncryptedOptions, MethodsOption } from './options'

declare const pluginBrand: unique symbol

type Refused = { readonly 'options that fit the schema': never }

/**
 * The type of `kmsEncrypted`, to be given to `schema.plugin()`.
 *
 * It is called by Mongoose alone. That its options are asked for what no options have is deliberate: Mongoose's own `plugin()` accepts any function,
 * and would take over silently where options are wrong. As it is, TypeScript tells which of them is unknown, missing or of the wrong type.
 */
export interface KmsEncryptedPlugin {
  (schema: any, options: KmsEncryptedOptions & Refused): void
  readonly [pluginBrand]: true
}

/**
 * The plain values of the fields, with the types and the nullability that Mongoose infers for ordinary paths of the
 * same definition. Nothing is known of fields whose names are computed.
 *
 * @example PlainFields<{ email: { type: StringConstructor; required: true }; dob: DateConstructor }>
 * // { email: string; dob?: Date | null }
 */
export type PlainFields<Fields> = Fields extends readonly (infer Name extends string)[]
  ? Known<{ [Field in Name]?: string | null }>
  : ObtainDocumentType<Known<MutableArrays<Fields>>>

/**
 * The fields as a document has them. Under `'onAccess'` a field just set or already open is there at once and a locked
 * one is a promise; `await` serves both, and a plain value can be assigned. Under `'onLoad'` they are plain values.
 */
export type EncryptedFields<Fields, Mode extends DecryptOption = 'onAccess'> = [Mode] extends ['onLoad']
  ? PlainFields<Fields>
  : { [Field in keyof PlainFields<Fields>]: PlainFields<Fields>[Field] | Promise<PlainFields<Fields>[Field]> }

/**
 * What the type of a document or subdocument knows of the plain values of its encrypted fields. There is no such
 * property. It is optional, so that intersections (of a discriminator with its base) have the fields of both. Its name
 * is a string, and all that is used here but not exported a type alias, so that applications can emit declarations.
 */
type EncryptedValues<Values> = { readonly '~plain'?: Values }

/** What a document or subdocument has besides its fields. */
export interface EncryptedMethods {
  /** Opens the record, unless it is open, and gives the plain values of all encrypted fields. */
  decrypt(): Promise<Copied<Plain<this>>>
  /**
   * Gives the record a new data key: every stored field is encrypted anew under it, in one write that is made only if
   * none of them changed meanwhile, and index values that are not current are made anew. Unsaved changes stay as they are.
   */
  rotateKmsKey(): Promise<void>
  /**
   * Finds what is not in order of the record as it is stored, as `Model.verifyKms()` does; of a subdocument in that alone. Nothing is written.
   *
   * @returns nothing in the list where all is in order
   */
  verifyKms(): Promise<readonly VerifyFailure[]>
  /**
   * Tells of the wrapped keys of the record as it is stored: which KMS key, how old, whether it is what a new one would be, or when it was erased; of
   * a subdocument those of that alone. Neither is the KMS asked nor anything written.
   */
  kmsStatus(): Promise<readonly RecordKeyStatus[]>
  /** Makes the index values of the record that were never made, or with other versions of the index. Unsaved changes stay as they are. */
  backfillBlindIndexes(): Promise<void>
  /**
   * Has the KMS wrap the record's data keys anew, under the KMS key and encryption context of the current version: ciphertexts stay as they
   * are, and no data key is seen here. What is current stays.
   */
  rewrapKmsKey(): Promise<void>
  /**
   * Takes away the wrapped keys of the record and the index values of its fields: what is encrypted can be read from backups alone, and from
   * documents that are open already. Reading says `ERASED`.
   */
  eraseKmsKey(): Promise<void>
  /** Encrypts what the record has stored in the clear, where the plugin is used with `migrating: true`. Unsaved changes stay as they are. */
  migrateToKms(): Promise<void>
  /** Stores the fields in the clear again, without keys and index values, where the plugin is used with `migrating: true`. */
  migrateFromKms(): Promise<void>
}

/**
 * The jobs over the records of a model. All take the same options, and give the same result. Beside what each throws: {JobError} JOB_RUNNING and
 * LEASE_LOST with `partition` or `resume: true`, {OperationError} WRITE_REFUSED where the asynchronous context passes a transaction on, and what
 * `onProgress` and the like throw.
 */
export interface EncryptedJobs {
  /**
   * Makes the index values of records that were stored before their fields had a blind index, or with other versions of it: one
   * call to the KMS and one update for each record that lacks one, and none for the others. Neither hooks nor timestamps nor the version of a document notice.
   *
   * @throws {ConfigurationError} OPTION_INVALID, also where no field of the model has a blind index; {KeyProviderError} when the KMS does not
   *   open the index key. What a record fails with is in the result.
   */
  backfillBlindIndexes(options?: JobOptions): Promise<JobResult>
  /**
   * Opens every record, its subdocuments included, and tells what is not in order: a wrapped key that is damaged, there twice or not opened
   * by the KMS, a field that does not decrypt, whose data key is not there, or that is not encrypted, and index values that are not those
   * of the value. One call to the KMS for each data key. No record is written.
   *
   * @throws {ConfigurationError} OPTION_INVALID. What a record fails with is in the result.
   */
  verifyKms(options?: JobOptions): Promise<VerifyResult>
  /**
   * Counts the records by key id, version and age of their wrapped keys. With the option `indexKeys` each count is answered by an index alone; a
   * filter, or a model that is a discriminator, has the records of that read as well. Without those indexes each count reads all records.
   *
   * @throws {ConfigurationError} OPTION_INVALID
   */
  kmsStatus(options?: StatusOptions): Promise<KmsStatus>
  /**
   * Has the KMS wrap the data keys of the records anew, under the KMS key and encryption context of the current version, those of subdocuments
   * too: one call for each that is not current. Ciphertexts stay as they are, and no data key is seen here.
   *
   * @throws {ConfigurationError} OPTION_INVALID. What a record fails with is in the result.
   */
  rewrapKmsKey(options?: JobOptions): Promise<JobResult>
  /**
   * Takes away the wrapped keys of the records and the index values of their fields: what is encrypted can be read from backups alone, and from
   * documents that are open already. Reading says `ERASED`.
   *
   * @throws {ConfigurationError} OPTION_INVALID, also where `filter` says nothing. What a record fails with is in the result.
   */
  eraseKmsKey(options: JobOptions & { readonly filter: Readonly<Record<string, unknown>> }): Promise<JobResult>
  /**
   * Encrypts what is stored in the clear at the fields of records, where the plugin is used with `migrating: true`: one update for each, and one call to
   * the KMS unless the record has a data key already. A value is replaced only while it is what was read. Neither hooks nor timestamps nor
   * the version of a document notice.
   *
   * @throws {ConfigurationError} OPTION_INVALID, also where nothing migrates; {KeyProviderError} when the KMS does not open the index key.
   *   What a record fails with is in the result.
   */
  migrateToKms(options?: MigrationOptions): Promise<MigrationResult>
  /**
   * Undoes `migrateToKms()`, where the plugin is used with `migrating: true`: values are stored in the clear again, wrapped keys and index
   * values taken away.
   *
   * @throws {ConfigurationError} OPTION_INVALID, also where nothing migrates. What a record fails with is in the result.
   */
  migrateFromKms(options?: JobOptions): Promise<JobResult>
}

/** The job whose name the option `methods` tells. */
interface Rotation {
  /**
   * Gives all records new data keys, their subdocuments included, as `rotateKmsKey()` of a document does: those that have one from before
   * the job began. For each, one call to the KMS opens a data key, one makes the new one, and one update writes it, which is made only if nothing encrypted
   * changed meanwhile. Neither hooks nor timestamps nor the version of a document notice.
   *
   * With the option `indexKeys` only those that are to be done are read, but where the keys of a map hold some.
   *
   * @throws {ConfigurationError} OPTION_INVALID; {KeyProviderError} when the KMS does not open the index key. What a record fails with is in
   *   the result.
   */
  rotateKmsKey(options?: RotateOptions): Promise<JobResult>
}

/** What the plugin adds to a model. */
export interface EncryptedStatics extends EncryptedJobs, Rotation {
  /**
   * Opens many records, a bounded number of them at once: documents, or lean objects with their key and envelopes. When
   * one fails, no more are asked for; with `settled` each gives its values or its error.
   */
  decrypt<Entry extends object>(records: readonly Entry[]): Promise<Decrypted<Entry, PlainOfModel<this>>[]>
  decrypt<Entry extends object>(
    records: readonly Entry[],
    options: { readonly settled: true },
  ): Promise<PromiseSettledResult<Decrypted<Entry, PlainOfModel<this>>>[]>
  /**
   * Opens what a cursor gives, or any async iterable, in its order: some are opened ahead of the reader, and no more are
   * held than those.
   *
   * @example for await (const user of User.decrypt(User.find().lean().cursor())) …
   */
  decrypt<Entry extends object>(
    records: Records<Entry>,
  ): AsyncGenerator<Decrypted<Entry, PlainOfModel<this>>, void, undefined>
  decrypt<Entry extends object>(
    records: Records<Entry>,
    options: { readonly settled: true },
  ): AsyncGenerator<PromiseSettledResult<Decrypted<Entry, PlainOfModel<this>>>, void, undefined>
  /** Opens one record. */
  decrypt<Entry extends object>(record: Entry): Promise<Decrypted<Entry, PlainOfModel<this>>>
}

/**
 * All that the plugin adds to a document, for where TypeScript cannot follow `schema.plugin()`: with NestJS, or where a
 * document or model type is written by hand.
 *
 * `Names` is the option `methods`, where it is used.
 *
 * @example type UserDocument = HydratedDocument<User, Encrypted<typeof fields>>
 */
export type Encrypted<
  Fields,
  Mode extends DecryptOption = 'onAccess',
  Names extends MethodsOption = Record<never, never>,
> = EncryptedFields<Fields, Mode> &
  EncryptedValues<PlainFields<Fields>> &
  Methods<
    Names extends { readonly decrypt: infer Name extends string } ? Name : 'decrypt',
    Names extends { readonly rotateKmsKey: infer Name extends string } ? Name : 'rotateKmsKey'
  >

/**
 * What many records are read from: a cursor of Mongoose or the driver, or whatever is async iterable. (An `AsyncIterable`, of
 * which TypeScript does not take a cursor of Mongoose for a subtype, so that it would be one record.)
 */
export type Records<Entry> = { [Symbol.asyncIterator](): { next(): Promise<IteratorResult<Entry, unknown>> } }

/** What `Model.decrypt()` makes of a record: of a document its encrypted fields, of a lean object itself with them. */
export type Decrypted<Entry, Values> = unknown extends Entry
  ? Values & Record<string, any>
  : Entry extends Document<any>
    ? Values
    : Merged<Entry, Values>

/** The plain values of all encrypted fields of a document. */
type Plain<Doc> = Doc extends { readonly '~plain'?: infer Values } ? Flat<NonNullable<Values>> : unknown

/** The same as `decrypt()` gives them: arrays of objects, where the document has Mongoose's own, with methods. */
type Copied<Values> = unknown extends Values ? Values : { [Key in keyof Values]: CopiedValue<Values[Key]> }

type CopiedValue<T> =
  IsAny<T> extends true
    ? T
    : T extends TreatAsPrimitives | { readonly _bsontype: string } | Map<any, any>
      ? T
      : T extends Types.DocumentArray<infer Item, infer Element>
        ? Copied<Item & Pick<Element, '_id' & keyof Element>>[]
        : T extends readonly any[]
          ? T
          : Copied<T>

type PlainOfModel<Model> = Model extends { hydrate(stored: any): infer Doc } ? Copied<Plain<Doc>> : unknown

/** The methods under the names asked for. Names that are only known when the program runs are as if not given. */
type Methods<Decrypt extends string, Rotate extends string> = [Decrypt, Rotate] extends ['decrypt', 'rotateKmsKey']
  ? EncryptedMethods
  : string extends Decrypt | Rotate
    ? EncryptedMethods
    : { [Name in Decrypt]: <This>(this: This) => Promise<Copied<Plain<This>>> } & {
        [Name in Rotate]: EncryptedMethods['rotateKmsKey']
      } & Omit<EncryptedMethods, 'decrypt' | 'rotateKmsKey'>

type Statics<Decrypt extends string, Rotate extends string> = [Decrypt, Rotate] extends ['decrypt', 'rotateKmsKey']
  ? EncryptedStatics
  : string extends Decrypt | Rotate
    ? EncryptedStatics
    : { [Name in Decrypt]: RenamedStatic } & { [Name in Rotate]: Rotation['rotateKmsKey'] } & EncryptedJobs

/** `EncryptedStatics['decrypt']`, where `this` is no longer the model but the interface that declares it. */
type RenamedStatic = {
  <This, Entry extends object>(this: This, records: readonly Entry[]): Promise<Decrypted<Entry, PlainOfModel<This>>[]>
  <This, Entry extends object>(
    this: This,
    records: readonly Entry[],
    options: { readonly settled: true },
  ): Promise<PromiseSettledResult<Decrypted<Entry, PlainOfModel<This>>>[]>
  <This, Entry extends object>(
    this: This,
    records: Records<Entry>,
  ): AsyncGenerator<Decrypted<Entry, PlainOfModel<This>>, void, undefined>
  <This, Entry extends object>(
    this: This,
    records: Records<Entry>,
    options: { readonly settled: true },
  ): AsyncGenerator<PromiseSettledResult<Decrypted<Entry, PlainOfModel<This>>>, void, undefined>
  <This, Entry extends object>(this: This, record: Entry): Promise<Decrypted<Entry, PlainOfModel<This>>>
}

/**
 * `Schema<…>`'s parameter `DocType` with the plugin. Mongoose makes everything of it: what a model takes and gives, and
 * what a parent's schema knows of a subdocument. So it is both, what can be given and what is read. Elements of arrays
 * are `Subdocument & DocType`, where only what is read is left, with its methods; a single nested subdocument is
 * `DocType` itself, of which plain objects can be assigned. What is stored is neither: see `Stored`.
 */
type AddToRaw<Raw, Fields, Mode extends DecryptOption, Methods> =
  IsAny<Raw> extends true
    ? Raw
    :
        | (RawWith<Exclude<Raw, Read>, Raw, PlainFields<Fields>, PlainFields<Fields>> &
            Given & { readonly [Name in keyof Methods]?: undefined })
        | (RawWith<Extract<Raw, Read>, Raw, PlainFields<Fields>, EncryptedFields<Fields, Mode>> & Read & Methods)

/** One of the two with further fields; the first use of the plugin on a schema finds neither. */
type RawWith<Half, Raw, Values, Fields> = Without<[Half] extends [never] ? Raw : Half, keyof Values> &
  Fields &
  EncryptedValues<Values>

/** Has no intersection with Mongoose's `Subdocument`, nor with `Read`. */
type Given = { readonly $isSingleNested?: undefined; readonly '~kind'?: undefined }

type Read = { readonly '~kind': 'read' }

/** `Schema<…>`'s parameter `TInstanceMethods` with the plugin: Mongoose adds all of it to documents, methods or not. */
type AddToMethods<InstanceMethods, Fields, Mode extends DecryptOption, Methods> = InstanceMethods &
  EncryptedFields<Fields, Mode> &
  EncryptedValues<PlainFields<Fields>> &
  Methods

/**
 * `Schema<…>`'s parameter `TStaticMethods` with the plugin. Mongoose 8 keeps in statics what `this` was when they were
 * declared, a model without the encrypted fields, and a model with them is none of these.
 */
type AddToStatics<StaticMethods, Statics> = (StaticMethods extends EncryptedStatics
  ? StaticMethods
  : { [Name in keyof StaticMethods]: OmitThisParameter<StaticMethods[Name]> }) &
  Statics

/**
 * What is stored of a document: of an encrypted field its envelope, or what is stored as it is. A field may be missing
 * though it is required, for it may not have been selected.
 */
type Stored<T> =
  IsAny<T> extends true
    ? T
    : '~plain' extends keyof T
      ? StoredFields<Exclude<T, Read>, Plain<T>>
      : { [Key in keyof T]: StoredValue<T[Key]> }

type StoredFields<T, Values> = {
  [Key in keyof T as Exclude<Key, keyof Values | keyof Given | '~plain'>]: StoredValue<T[Key]>
} & { [Field in keyof Values]?: mongo.Binary | null }

/** Leaves alone, and so exactly as it is, whatever has nothing encrypted in it. */
type StoredValue<T> =
  IsEncrypted<T> extends false
    ? T
    : T extends Types.DocumentArray<infer Item>
      ? Types.DocumentArray<Stored<Item>>
      : T extends Map<infer Key, infer Item>
        ? Map<Key, StoredValue<Item>>
        : T extends TreatAsPrimitives
          ? T
          : Stored<T>

/** Whether a document type has encrypted fields, of its own or in what it holds, down to the third level. */
type IsEncrypted<T, Below extends unknown[] = [1, 2]> =
  IsAny<T> extends true
    ? false
    : true extends (T extends TreatAsPrimitives | Promise<any> ? false : IsEncryptedObject<T, Below>)
      ? true
      : false

type IsEncryptedObject<T, Below extends unknown[]> = '~plain' extends keyof T
  ? true
  : T extends Types.DocumentArray<infer Item>
    ? IsEncrypted<Item, Below>
    : T extends Map<any, infer Item>
      ? IsEncrypted<Item, Below>
      : Below extends [any, ...infer Rest]
        ? { [Key in keyof T]-?: IsEncrypted<T[Key], Rest> }[keyof T]
        : false

/**
 * The stored type of a query with what it knows of encrypted fields. Where there is an explicit document interface,
 * Mongoose 9 takes that for the stored type, and it knows nothing of them; the hydrated document does.
 */
type RawOfQuery<Raw, Doc> =
  IsAny<Doc> extends true ? Raw : '~plain' extends keyof Doc ? Raw & EncryptedValues<Plain<Doc>> : Raw

/** What a query gives after `lean()`, as Mongoose has it, but of what is stored. */
type Lean<Raw, Result, Operation> = Operation extends
  | 'find'
  | 'findOne'
  | 'findOneAndUpdate'
  | 'findOneAndReplace'
  | 'findOneAndDelete'
  ? Result extends any[]
    ? LeanObject<Raw>[]
    : LeanObject<Raw>
  : Result

type LeanObject<Raw> = Default__v<Require_id<BufferToBinary<FlattenMaps<Stored<Raw>>>>>

/**
 * The methods or statics of a schema. Mongoose 9 looks for them in the type of the schema's options, but only while
 * the parameter made for them is empty.
 */
type Declared<Parameter, Options, Key extends 'methods' | 'statics'> = [keyof Parameter] extends [never]
  ? Options extends { [K in Key]: infer Value }
    ? Value
    : Parameter
  : Parameter

type IsAny<T> = 0 extends 1 & T ? true : false

/** `B` over `A`. */
type Merged<A, B> = Omit<A, keyof B> & B

type Without<T, Key> = [Key & keyof T] extends [never] ? T : Flat<Omit<T, Key & keyof T>>

/** Computes an intersection, so that editors show its properties. */
type Flat<T> = { [K in keyof T]: T[K] } & unknown

/** Leaves out what is there for any string. */
type Known<T> = { [K in keyof T as string extends K ? never : K]: T[K] } & unknown

/** `as const` makes arrays read-only, which Mongoose does not recognise as arrays everywhere. */
type MutableArrays<Fields> = {
  -readonly [Field in keyof Fields]: Fields[Field] extends readonly (infer Item)[] ? Item[] : Fields[Field]
}

declare module 'mongoose' {
  interface ToObjectOptions {
    /**
     * Puts the values of encrypted fields into the object, of subdocuments and populated documents too. Each has to be open: RECORD_LOCKED. It
     * counts where `toObject()` or `toJSON()` is called, and never as an option of a schema.
     */
    decrypted?: boolean
  }

  // Names the first five of the class's type parameters, which Mongoose 8 and 9 share.
  interface Query<ResultType, DocType, THelpers, RawDocType, QueryOp> {
    /** Sets the lean option. The encrypted fields are in the results as they are stored: as envelopes. */
    // All it needs comes from `this`: if it used the parameters of the class, queries would no longer be comparable
    // with each other as they are in Mongoose. Where nothing is encrypted it does not apply, and Mongoose's own does.
    lean<Result, Doc, Helpers, Raw, Operation>(
      this: IsEncrypted<RawOfQuery<Raw, Doc>> extends true ? Query<Result, Doc, Helpers, Raw, Operation> : never,
      value?: true | Readonly<Record<string, any>>,
    ): QueryWithHelpers<
      Result extends null
        ? Lean<RawOfQuery<Raw, Doc>, Result, Operation> | null
        : Lean<RawOfQuery<Raw, Doc>, Result, Operation>,
      Doc,
      Helpers,
      Raw,
      Operation
    >
  }

  // Names the first six of the interface's type parameters, which Mongoose 8 and 9 share.
  interface Model<TRawDocType, TQueryHelpers, TInstanceMethods, TVirtuals, THydratedDocumentType, TSchema> {
    /** Adds a discriminator type. */
    // As Mongoose has it since 8.18.1: before, the type of a discriminator had no statics of its base, so no decrypt().
    // Where nothing is encrypted it does not apply, and Mongoose's own does.
    discriminator<Own extends Schema<any, any>>(
      this: { hydrate(stored: any): EncryptedValues<unknown> },
      name: string | number,
      schema: Own,
      value?: string | number | Types.ObjectId | DiscriminatorOptions,
    ): Model<
      TRawDocType & InferSchemaType<Own>,
      TQueryHelpers & ObtainSchemaGeneric<Own, 'TQueryHelpers'>,
      TInstanceMethods & ObtainSchemaGeneric<Own, 'TInstanceMethods'>,
      TVirtuals & ObtainSchemaGeneric<Own, 'TVirtuals'>
    > &
      ObtainSchemaGeneric<TSchema, 'TStaticMethods'> &
      ObtainSchemaGeneric<Own, 'TStaticMethods'>
  }

  // Names the first nine of the class's type parameters, which Mongoose 8 and 9 share.
  interface Schema<
    RawDocType,
    TModelType,
    TInstanceMethods,
    TQueryHelpers,
    TVirtuals,
    TStaticMethods,
    TSchemaOptions,
    DocType,
    THydratedDocumentType,
  > {
    /** Without options nothing is encrypted, and it is an error when the schema is built. */
    plugin(fn: KmsEncryptedPlugin): 'kmsEncrypted needs options, at least `fields`'
    /**
     * Encrypts fields of every record under a KMS data key of its own. Chain it to the schema's definition: the result
     * has a type that knows the fields.
     *
     * @throws {ConfigurationError} when an option cannot be used as it is
     */
    // `Doc` and `Raw` are no choice of the caller's. `Doc`, which `context` and `keyId` get, is a parameter so that
    // schemas stay comparable with each other. `Raw` is one because TypeScript cannot see that a computed type keeps
    // Mongoose's constraint on `DocType`, but accepts what is looked up in a parameter whose property may be any.
    plugin<
      Name extends string,
      Fields extends FieldsOption<Name>,
      Mode extends DecryptOption = 'onAccess',
      Doc = THydratedDocumentType,
      Decrypt extends string = 'decrypt',
      Rotate extends string = 'rotateKmsKey',
      Raw extends { type: any } = { type: AddToRaw<DocType, Fields, Mode, Methods<Decrypt, Rotate>> },
    >(
      fn: KmsEncryptedPlugin,
      options: KmsEncryptedOptions<Fields, Mode, Doc, Decrypt, Rotate>,
    ): Schema<
      RawDocType,
      TModelType,
      AddToMethods<Declared<TInstanceMethods, TSchemaOptions, 'methods'>, Fields, Mode, Methods<Decrypt, Rotate>>,
      TQueryHelpers,
      TVirtuals,
      AddToStatics<Declared<TStaticMethods, TSchemaOptions, 'statics'>, Statics<Decrypt, Rotate>>,
      TSchemaOptions,
      Raw['type'],
      HydratedDocument<
        Raw['type'],
        TVirtuals &
          AddToMethods<Declared<TInstanceMethods, TSchemaOptions, 'methods'>, Fields, Mode, Methods<Decrypt, Rotate>>,
        TQueryHelpers,
        TVirtuals
      >
    >
  }
}
