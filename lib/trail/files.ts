import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { type Sink, ValueReader } from './values'

/** Of folders, the files with names that AWS and logs have, those put aside as well; a file that is named itself may be called anything. */
const readable = /\.(?:json|jsonl|ndjson|log)(?:[.-]\d[\d-]*)?(?:\.gz)?$/i
const chunkBytes = 256 * 1024

export interface Found {
  readonly path: string
  /** In bytes. */
  readonly size: number
  /** Why there is no such file or folder. */
  readonly error?: Error
}

/** The files that paths stand for, those of a folder and the folders in it by their names. */
export async function filesOf(paths: readonly string[]): Promise<Found[]> {
  const found: Found[] = []
  for (const path of paths) {
    try {
      const named = await stat(path)
      if (!named.isDirectory()) {
        found.push({ path, size: named.size })
        continue
      }
      const before = found.length
      await addFilesIn(path, found)
      // What nobody reads must not pass for what says nothing.
      if (found.length === before) found.push(unread(path, 'has no file named as those of CloudTrail or of logs are'))
    } catch (error) {
      found.push({ path, size: 0, error: error as Error })
    }
  }
  return found
}

async function addFilesIn(folder: string, found: Found[]): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true })
  for (const entry of entries.sort((one, other) => (one.name < other.name ? -1 : 1))) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) await addFilesIn(path, found)
    else if (entry.isSymbolicLink() || readable.test(entry.name)) found.push(...(await fileAt(path)))
  }
}

async function fileAt(path: string): Promise<Found[]> {
  try {
    const named = await stat(path)
    if (named.isDirectory()) return [unread(path, 'is a link to a folder, and not followed: name the folder itself')]
    return readable.test(path) ? [{ path, size: named.size }] : []
  } catch (error) {
    return [{ path, size: 0, error: error as Error }]
  }
}

function unread(path: string, message: string): Found {
  return { path, size: 0, error: new Error(message) }
}

export interface Reading {
  /** Is told how many bytes of the file were read, whenever there are more. */
  readonly onBytes?: (bytes: number) => void
  readonly signal?: AbortSignal
}

/**
 * Reads the values of a file, gzipped or not, in bounded memory.
 *
 * @throws what the file system or the decompression says; what was read until then has been handed on
 */
export async function readValues(path: string, sink: Sink, { onBytes, signal }: Reading = {}): Promise<void> {
  const file = await open(path)
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(2), 0, 2, 0)
    const isGzipped = bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b
    const reader = new ValueReader(sink)
    const source = file.createReadStream({ start: 0, autoClose: false, highWaterMark: chunkBytes, signal })
    await flow(source, isGzipped ? createGunzip({ chunkSize: chunkBytes }) : undefined, (chunk) => {
      reader.push(chunk)
      onBytes?.(source.bytesRead)
    })
    reader.end()
  } finally {
    await file.close()
  }
}

/** Each chunk is handed on as soon as it is there: where a stream ends with an error, what came before it is not lost. */
function flow(source: Readable, through: (Readable & Writable) | undefined, take: (chunk: Buffer) => void) {
  const last: Readable = through ? source.pipe(through) : source
  return new Promise<void>((resolve, reject) => {
    const fail = (error: unknown) => {
      source.destroy()
      through?.destroy()
      reject(error)
    }
    source.once('error', fail)
    last.once('error', fail)
    last.once('end', resolve)
    last.on('data', (chunk: Buffer) => {
      try {
        take(chunk)
      } catch (error) {
        fail(error)
      }
    })
  })
}
