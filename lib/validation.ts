import type { Error as MongooseErrors } from 'mongoose'
import type { Doc } from './host'
import type { EncryptedRecord } from './record'

/** What to validate, as Mongoose's own `validate()` takes it. */
export interface Selection {
  readonly paths?: readonly string[]
  readonly pathsToSkip?: readonly string[]
  readonly validateModifiedOnly?: boolean
}

type ValidationErrors = MongooseErrors.ValidationError['errors']

/** Validates the encrypted fields of a record on their plaintext, as Mongoose would if they were paths of its own. */
export async function validateFields(record: EncryptedRecord, selection: Selection): Promise<ValidationErrors> {
  const paths = pathsToValidate(record, selection)
  if (paths.length === 0) return {}
  try {
    await record.values.validate(paths as never)
    return {}
  } catch (error) {
    return errorsOf(record, error)
  }
}

/** The same without custom asynchronous validators, for `validateSync()`. */
export function validateFieldsSync(record: EncryptedRecord, selection: Selection): ValidationErrors {
  const paths = pathsToValidate(record, selection)
  const error = paths.length === 0 ? null : record.values.validateSync(paths)
  return error ? errorsOf(record, error) : {}
}

/** Joins errors of encrypted fields with the error of the record's other paths. */
export function mergeErrors(
  doc: Doc,
  error: unknown,
  errors: ValidationErrors,
  ValidationError: new (doc: Doc) => Error,
): unknown {
  const entries = Object.entries(errors)
  if (entries.length === 0) return error
  const merged = (error ?? new ValidationError(doc)) as MongooseErrors.ValidationError
  for (const [path, fieldError] of entries) merged.addError(path, fieldError)
  return merged
}

function pathsToValidate(record: EncryptedRecord, selection: Selection): string[] {
  const { doc, config } = record
  const all: string[] = []
  for (const field of config.fields.byName.values()) {
    if (doc.$isNew) record.settle(field.name)
    const isWritten = doc.$isNew && !selection.validateModifiedOnly
    const changed = record.known.has(field.name) && (isWritten || record.values.isModified(field.name))
    const missing = field.required && !selection.validateModifiedOnly && isMissing(record, field.name)
    if (changed || missing || record.assigned.has(field.name)) all.push(...field.paths)
  }
  const { paths, pathsToSkip } = selection
  const wanted = all.filter(
    (path) => !path.endsWith('.$*') && (!paths || covers(paths, path)) && !(pathsToSkip && covers(pathsToSkip, path)),
  )
  return [...wanted, ...parentsOf(wanted, all)]
}

/** Nested objects that are validated as a whole: Mongoose 8 may know of one only that it was set, not with which paths. */
function parentsOf(paths: readonly string[], all: readonly string[]): string[] {
  const parents = new Set<string>()
  for (const path of paths) {
    for (let dot = path.lastIndexOf('.'); dot !== -1; dot = path.lastIndexOf('.', dot - 1))
      parents.add(path.slice(0, dot))
  }
  return [...parents].filter((parent) =>
    all.every((path) => !path.startsWith(`${parent}.`) || path.endsWith('.$*') || paths.includes(path)),
  )
}

/** Whether a loaded record lacks a field; a locked one has it, whatever it is. */
function isMissing(record: EncryptedRecord, name: string): boolean {
  const { storedPath } = record.field(name)
  if (!record.doc.$isNew && !record.doc.isSelected(storedPath)) return false
  return record.settle(name) && !record.values.isModified(name)
}

function covers(paths: readonly string[], path: string): boolean {
  return paths.some((listed) => path === listed || path.startsWith(`${listed}.`))
}

function errorsOf(record: EncryptedRecord, error: unknown): ValidationErrors {
  const { name, errors } = error as MongooseErrors.ValidationError
  if (name !== 'ValidationError') throw error
  for (const each of Object.values(errors)) nameModel(record, each)
  return errors
}

/** A cast error of Mongoose 9 names the model: the record's, not the one that the open values have. */
function nameModel({ doc, values }: EncryptedRecord, error: Error & { setModel?: (model: unknown) => void }): void {
  const { modelName } = values.constructor as { modelName?: string }
  if (error.setModel && modelName && error.message.includes(modelName)) error.setModel(doc.constructor)
}
