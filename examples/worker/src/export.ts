import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { type Audit, withAudit } from 'mongoose-kms-encrypted'
import { User } from './user.js'

export interface Progress {
  readonly done: number
  readonly total: number
  readonly failed: number
}

export interface ExportOptions {
  /** For whom, and why: it is in the audit log with every record. */
  readonly audit: Audit
  readonly onProgress?: (progress: Progress) => void
  readonly signal?: AbortSignal
}

/**
 * Writes all users to a CSV file, which is there when it is whole. A user who cannot be opened is counted and left out, and does not end it.
 * However many there are, the memory is that of a few, and up to 32 calls to KMS are under way.
 */
export function exportUsers(file: string, { audit, onProgress, signal }: ExportOptions): Promise<Progress> {
  return withAudit(audit, async () => {
    const total = await User.countDocuments()
    let progress: Progress = { done: 0, total, failed: 0 }

    async function* lines() {
      yield line(['id', 'plan', 'name', 'email'])
      const users = User.find().sort({ _id: 1 }).lean().cursor()
      for await (const user of User.decrypt(users, { settled: true })) {
        const isOpen = user.status === 'fulfilled'
        if (isOpen) yield line([user.value._id, user.value.plan, user.value.name, user.value.email])
        // The message names the record, and has no value.
        else console.error(String(user.reason))
        progress = { total, done: progress.done + 1, failed: progress.failed + (isOpen ? 0 : 1) }
        if (progress.done % 1000 === 0) onProgress?.(progress)
      }
    }

    const part = `${file}.part`
    try {
      // What was encrypted is in the clear here: for the owner of the file alone.
      await pipeline(lines, createWriteStream(part, { mode: 0o600 }), { signal })
      await rename(part, file)
    } finally {
      await rm(part, { force: true })
    }
    return progress
  })
}

function line(values: readonly unknown[]): string {
  return `${values.map((value) => cell(String(value))).join(',')}\r\n`
}

/** A cell that begins like a formula is one to a spreadsheet, whoever wrote it. */
function cell(text: string): string {
  const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return `"${harmless.replaceAll('"', '""')}"`
}
