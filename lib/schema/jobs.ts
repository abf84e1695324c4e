/** How a job goes over the records of a collection. */
export interface JobOptions {
  /** Which records it is for, as in `Model.find()`. Default: all of the model. */
  readonly filter?: Readonly<Record<string, unknown>>
  /** How many records are worked on at once. Default: twice as many as calls are under way: some wait for the KMS while others are read and written. */
  readonly concurrency?: number
  /** How many records are read at once, and after how many of them `onProgress` is called. Default 100. */
  readonly batchSize?: number
  /** Stops the job between records: what was begun ends, and the result says how far it came. */
  readonly signal?: AbortSignal
  /** Is told how far the job has come. What it returns is awaited, and what it throws ends the job. */
  readonly onProgress?: (progress: JobProgress) => unknown
  /** Is told, before the first record, how many there are, which takes a count of them. Otherwise as `onProgress`. */
  readonly onBegin?: (start: JobStart) => unknown
  /** Is told of each failure, those that `failures` has no room for as well. Otherwise as `onProgress`. */
  readonly onFailure?: (failure: JobFailure) => unknown
  /**
   * The `checkpoint` of an earlier run, of the same type: the job goes on after it. Or `true`: its checkpoint is kept in the collection
   * `kms_jobs`, after each batch, and it goes on after what is there of a run that has not come to its end. Nobody else does the same
   * meanwhile: it is as the only part of a `partition`.
   */
  readonly resume?: unknown
  /**
   * Does one part of the job, of those that are split over processes and hosts: ranges of `_id` with about as many records each. The first that
   * comes tells where they meet; so all are to have the same `filter`, for each filter is a job of its own. A part goes on after its checkpoint in `kms_jobs`. When all parts have ended,
   * whoever comes next begins a new run.
   */
  readonly partition?: Partition
  /** For how long a part is kept from other workers after the last sign of this one, in milliseconds. Default 60 000. */
  readonly leaseMs?: number
  /**
   * Only tells what there is to do: the records are read, and nothing is written, neither to them nor to `kms_jobs`. `processed` of the result
   * counts the records, and `kmsCalls` what it would ask the KMS, which is not asked; but for the index key, where `filter` names an encrypted field.
   */
  readonly dryRun?: boolean
}

/** What a job has before it. */
export interface JobStart {
  /** How many records there are for it now. Others may come and go. */
  readonly total: number
  /** Where an earlier run was stopped, and this one goes on. */
  readonly checkpoint: unknown
}

/** A part of a job: `{ index: 0, of: 4 }` to `{ index: 3, of: 4 }`. */
export interface Partition {
  readonly index: number
  readonly of: number
}

/** How `rotateKmsKey()` goes over the records of a collection. */
export interface RotateOptions extends JobOptions {
  /** Only records that have a data key from then or before. Default: from before the job began. */
  readonly olderThan?: Date
}

/** How far a job has come. */
export interface JobProgress {
  /** How many records were worked on: the sum of the next three. */
  readonly processed: number
  readonly updated: number
  /** How many needed nothing, most often for somebody else was faster. */
  readonly unchanged: number
  readonly failed: number
  /**
   * Where to go on: the `_id` of the last record up to which all were processed, in the order of MongoDB; of `rotateKmsKey()`
   * `{ startedAt, id }`. `undefined` before the first.
   */
  readonly checkpoint: unknown
}

/** What a job has done. */
export interface JobResult extends JobProgress {
  /** The first 100 records that failed. All are counted in `failed`. */
  readonly failures: readonly JobFailure[]
  /** Whether `signal` stopped it before its end. */
  readonly interrupted: boolean
  /** Of a `dryRun`: how many calls to the KMS it would take, at most, beside one for each index key. */
  readonly kmsCalls?: number
}

/** A record that a job could not do its work for. */
export interface JobFailure {
  /** Its `_id`, as it is stored. */
  readonly id: unknown
  readonly error: unknown
}

/** The options of `migrateToKms()`. */
export interface MigrationOptions extends JobOptions {
  /**
   * Drops the indexes of MongoDB's that are of the fields, which index values in the clear, once no record has any. Default false: they are named in the
   * result.
   */
  readonly dropIndexes?: boolean
}

/** What `migrateToKms()` has done. */
export interface MigrationResult extends JobResult {
  /** The names of the indexes of MongoDB's that are of fields which are encrypted now. */
  readonly indexes: readonly string[]
  /** Those that were dropped. */
  readonly droppedIndexes: readonly string[]
}

/** What `verifyKms()` has found. */
export interface VerifyResult extends JobResult {
  /** `unchanged` counts the records that are in order, and `updated` none. A record that fails may do so in several places. */
  readonly failures: readonly VerifyFailure[]
}

/** A place in a record that is not in order. */
export interface VerifyFailure extends JobFailure {
  /** Where it is: a field, an entry of the wrapped keys or index values, such as `contacts.0.phone`. */
  readonly path: string
  /** The `code` of the error: `PLAINTEXT_FOUND`, `ENVELOPE_REJECTED`, `KMS_ACCESS_DENIED`… */
  readonly code: string | undefined
}

/** Which records `kmsStatus()` counts. */
export type StatusOptions = Pick<JobOptions, 'filter'>

/** What `kmsStatus()` has counted. */
export interface KmsStatus {
  /** Of a whole collection, as `estimatedDocumentCount()` gives it: after a server has crashed it may be a little off, and `withoutKeys` with it. */
  readonly records: number
  /** For each path of wrapped keys, those of subdocuments too; the keys of maps stand below no path that could be asked for, and are not counted. */
  readonly keys: readonly KeyStatus[]
}

/** How many records have wrapped keys at one path. A record that has several of them there is counted by each. */
export interface KeyStatus {
  /** Where they stand, such as `encrypted_kms_key` or `contacts.encrypted_kms_key`. */
  readonly path: string
  readonly withKeys: number
  readonly withoutKeys: number
  /** The KMS keys that wrap them, by what the KMS calls them, the most used first: each is still needed by so many records. */
  readonly keyIds: readonly { readonly keyId: string; readonly records: number }[]
  /** The generations of the option `version` that they are wrapped under, likewise. What `rewrapKmsKey()` has done still needs the one of before. */
  readonly versions: readonly { readonly version: number; readonly records: number }[]
  /** How many records have a data key that is older than 30, 90 and 365 days. */
  readonly olderThanDays: Readonly<Record<number, number>>
}

/** A wrapped key of one record, as `kmsStatus()` of a document tells of it. */
export interface RecordKeyStatus {
  /** Where it stands, such as `encrypted_kms_key` or `contacts.0.encrypted_kms_key`. */
  readonly path: string
  /** The KMS key that wraps it, by what the KMS calls it. */
  readonly keyId?: string
  /** The generation of the option `version`. */
  readonly version?: number
  readonly createdAt?: Date
  /**
   * Whether it is under the KMS key and the version that a new one would be, so that `rewrapKmsKey()` leaves it. What an alias stands for is known
   * once the KMS has been asked for something under it; until then it is `false`.
   */
  readonly isCurrent?: boolean
  /** Instead of all these: when the data keys that were here were erased. */
  readonly erasedAt?: Date
}
