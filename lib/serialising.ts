import { origins } from './contents'
import { OperationError } from './errors'
import type { Doc, Method } from './host'
import { layoutFor } from './layout'
import { touchedRecordsOf } from './records'
import { isUnencrypted } from './sealing'

let serialising = 0

/** Whether a document is being turned into a plain object, which must neither throw nor ask the KMS. */
export function isSerialising(): boolean {
  return serialising > 0
}

/** Lets a method that turns a document into a plain object leave out what is encrypted, and what is stored for it. */
export function serialiseOverride(original: Method): Method {
  return function serialise(options) {
    // Mongoose makes what it sends to the database by the same methods.
    const forDatabase = options?.transform === false && options.virtuals === false && options.getters === false
    if (forDatabase) refuseUnencrypted(this)
    serialising++
    let object: any
    try {
      object = original.call(this, options)
    } finally {
      serialising--
    }
    if (forDatabase || object === null || typeof object !== 'object') return object
    const { byField, storedPaths } = layoutFor(this)
    for (const path of storedPaths) delete object[path]
    for (const name of byField.keys()) delete object[name]
    if (options?._isNested) origins.set(object, this)
    return object
  }
}

/** The last line: a write that ran none of the hooks would leave out what they were to encrypt. */
function refuseUnencrypted(doc: Doc): void {
  const record = touchedRecordsOf(doc).find(isUnencrypted)
  if (!record) return
  throw new OperationError(
    'WRITE_REFUSED',
    `${record.place()}: this way of writing does not encrypt, so nothing was sent. Use save(), create(), insertMany(), bulkSave() or ` +
      'the bulkWrite() of the model.',
  )
}
