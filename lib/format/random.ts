import { randomFillSync } from 'node:crypto'
import { copyBytes } from './bytes'

/** What is drawn at once: a draw of as much takes no longer than one of twelve bytes. Its own memory, not a view into Node's. */
const pool = Buffer.allocUnsafeSlow(4096)
let used = pool.length

/** Random bytes, by `node:crypto`. None is given twice: what is given is taken out of the pool. */
export function randomBytes(length: number): Buffer {
  if (length > pool.length - used) {
    randomFillSync(pool)
    used = 0
  }
  const start = used
  used += length
  const bytes = copyBytes(pool.subarray(start, used))
  pool.fill(0, start, used)
  return bytes
}
