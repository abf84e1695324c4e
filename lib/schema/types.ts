import type { Document, HydratedDocument, Model, ObtainDocumentType } from 'mongoose'
import type { DecryptOption, FieldsOption, KmsEncryptedOptions } from './options'

declare const pluginBrand: unique symbol

/**
 * The type of `kmsEncrypted`, to be given to `schema.plugin()`.
 *
 * It deliberately has no call signature: Mongoose's own `plugin()` accepts any function with any options, and would
 * take over silently where the options are wrong. When TypeScript says that this type is no `PluginFunction`, then one
 * of the options is unknown, missing or of the wrong type.
 */
export interface KmsEncryptedPlugin {
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

/** What a document has besides its fields. `Plain` are the plain values of all encrypted fields of the schema. */
export interface EncryptedMethods<Plain> {
  /** Opens the record, unless it is open, and gives the plain values of all encrypted fields. */
  decrypt(): Promise<Plain>
  /**
   * Gives the record a new data key: every stored field is encrypted anew under it, in one write that is made only if
   * none of them changed meanwhile. Unsaved changes stay as they are.
   */
  rotateKmsKey(): Promise<void>
}

/**
 * All that the plugin adds to a document, for where TypeScript cannot follow `schema.plugin()`: with NestJS, or where a
 * document or model type is written by hand.
 *
 * @example type UserDocument = HydratedDocument<User, Encrypted<typeof fields>>
 */
export type Encrypted<Fields, Mode extends DecryptOption = 'onAccess'> = EncryptedFields<Fields, Mode> &
  EncryptedMethods<PlainFields<Fields>>

/** What `Model.decrypt()` makes of one record: of a document its encrypted fields, of a lean object itself with them. */
export type Decrypted<Entry, Plain> = Entry extends Document<any> ? Plain : Merged<Entry, Plain>

/**
 * What the plugin adds to a model: `decrypt()`, and more overloads of what writes new records. Mongoose 9 refuses unknown
 * keys there, so it has to be told of the encrypted ones.
 *
 * `Raw` is the document as it is stored, `Plain` the encrypted fields, `Doc` the hydrated document.
 */
export interface EncryptedStatics<Raw, Plain, Doc> extends Pick<AsIfPlain<Raw, Plain, Doc>, Creating> {
  /** Opens many records, a bounded number of them at once: documents, or lean objects with their key and ciphertexts. */
  decrypt<Entry extends object>(records: readonly Entry[]): Promise<Decrypted<Entry, Plain>[]>
  /** Opens one record. */
  decrypt<Entry extends object>(record: Entry): Promise<Decrypted<Entry, Plain>>
}

/** The model as if its encrypted fields were ordinary paths. */
type AsIfPlain<Raw, Plain, Doc> = Model<Merged<Raw, Plain>, unknown, unknown, unknown, Doc>

/** `insertMany()` accepts any keys; `insertOne()` is not in every Mongoose 8. */
type Creating = Extract<keyof Model<unknown>, 'create' | 'insertOne'>

/** `Schema<…>`'s parameter `TInstanceMethods` with the plugin: Mongoose adds all of it to documents, not only methods. */
type AddToMethods<Methods, Fields, Mode extends DecryptOption> = Without<Methods, keyof EncryptedMethods<unknown>> &
  EncryptedFields<Fields, Mode> &
  EncryptedMethods<AllPlain<Methods, Fields>>

/** `Schema<…>`'s parameter `TStaticMethods` with the plugin. What an earlier use of it added is replaced. */
type AddToStatics<Statics, Raw, Plain, Doc> = (Statics extends EncryptedStatics<any, any, any>
  ? Omit<Statics, keyof EncryptedStatics<any, any, any>>
  : Statics) &
  EncryptedStatics<Raw, Plain, Doc>

/**
 * `Schema<…>`'s parameter `THydratedDocumentType` with the plugin. Intersections keep `this` in a document's methods
 * whole, `Omit` would not. So where an explicit document interface has declared a field itself, the document is built
 * anew, as Mongoose does it.
 */
type AddToDocument<Doc, Raw, Methods, QueryHelpers, Virtuals, Fields, Mode extends DecryptOption> = [
  keyof PlainFields<Fields> & keyof Doc,
] extends [never]
  ? (Doc extends infer Rest & EncryptedMethods<EarlierPlain<Methods>> ? Rest : Doc) &
      EncryptedFields<Fields, Mode> &
      EncryptedMethods<AllPlain<Methods, Fields>>
  : HydratedDocument<Raw, Virtuals & AddToMethods<Methods, Fields, Mode>, QueryHelpers>

/** The plain values of these fields and of those that earlier uses of the plugin on the schema have added. */
type AllPlain<Methods, Fields> =
  Methods extends EncryptedMethods<infer Earlier> ? Flat<Earlier & PlainFields<Fields>> : PlainFields<Fields>

type EarlierPlain<Methods> = Methods extends EncryptedMethods<infer Earlier> ? Earlier : never

/**
 * The methods or statics of a schema. Mongoose 9 looks for them in the type of the schema's options, but only while
 * the parameter made for them is empty.
 */
type Declared<Parameter, Options, Key extends 'methods' | 'statics'> = [keyof Parameter] extends [never]
  ? Options extends { [K in Key]: infer Value }
    ? Value
    : Parameter
  : Parameter

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
    /**
     * Encrypts fields of every record under a KMS data key of its own. Chain it to the schema's definition: the result
     * has a type that knows the fields.
     *
     * @throws {ConfigurationError} when an option cannot be used as it is
     */
    // `Doc` is a parameter only so that schemas stay comparable with each other: it is what `context` and `keyId` get.
    plugin<
      Name extends string,
      Fields extends FieldsOption<Name>,
      Mode extends DecryptOption = 'onAccess',
      Doc = THydratedDocumentType,
    >(
      fn: KmsEncryptedPlugin,
      options: KmsEncryptedOptions<Fields, Mode, Doc>,
    ): Schema<
      RawDocType,
      TModelType,
      AddToMethods<Declared<TInstanceMethods, TSchemaOptions, 'methods'>, Fields, Mode>,
      TQueryHelpers,
      TVirtuals,
      AddToStatics<
        Declared<TStaticMethods, TSchemaOptions, 'statics'>,
        DocType,
        AllPlain<TInstanceMethods, Fields>,
        AddToDocument<THydratedDocumentType, DocType, TInstanceMethods, TQueryHelpers, TVirtuals, Fields, Mode>
      >,
      TSchemaOptions,
      DocType,
      AddToDocument<THydratedDocumentType, DocType, TInstanceMethods, TQueryHelpers, TVirtuals, Fields, Mode>
    >
  }
}
