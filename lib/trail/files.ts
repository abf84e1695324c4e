import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { type Sink, ValueReader } from './values'

/** Of folders, the files with names that AWS and logs have; a file that is named itself may be called anything. */
const readable = /\.(?:json|jsonl|ndjson|log)(?:\.gz)?$/i
const chunkBytes = 256 * 1024

export interface Found {
  readonly path: string
  /** Why there is no such file or folder. */
  readonly error?: Error
}

/** The files that paths stand for, those of a folder and the folders in it by their names. */
export async function filesOf(paths: readonly string[]): Promise<Found[]> {
  const found: Found[] = []
  for (const path of paths) {
    try {
      if (!(await stat(path)).isDirectory()) {
        found.push({ path })
        continue
      }
      const entries = await readdir(path, { recursive: true, withFileTypes: true })
      const names = entries.filter((entry) => entry.isFile() && readable.test(entry.name))
      found.push(...names.map(({ parentPath, name }) => ({ path: join(parentPath, name) })).sort(byPath))
    } catch (error) {
      found.push({ path, error: error as Error })
    }
  }
  return found
}

function byPath(a: Found, b: Found): number {
  return a.path < b.path ? -1 : 1
}

/**
 * Reads the values of a file, gzipped or not, in bounded memory.
 *
 * @throws what the file system or the decompression says; what was read until then has been handed on
 */
export async function readValues(path: string, sink: Sink): Promise<void> {
  const file = await open(path)
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(2), 0, 2, 0)
    const isGzipped = bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b
    const reader = new ValueReader(sink)
    await flow(
      file.createReadStream({ start: 0, autoClose: false, highWaterMark: chunkBytes }),
      isGzipped ? createGunzip({ chunkSize: chunkBytes }) : undefined,
      (chunk) => reader.push(chunk),
    )
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
