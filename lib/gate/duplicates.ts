import type { Plain } from '../mongoose/host'
import { isPlainObject } from '../mongoose/plain'
import type { Gate } from './gate'
import { indexPathsOf } from './indexed'

const hidden = '<encrypted>'

/**
 * Has the error of a write that would store a value twice tell of the field, and neither of the path of its index values nor of what these
 * are. It stays the driver's own error, with its class and code.
 */
export function inFieldTerms(gates: Iterable<Gate>, error: unknown): unknown {
  for (const { root } of gates) {
    // One path may end as another: the longer ones come first.
    const paths = [...indexPathsOf(root)].sort(([one], [other]) => other.length - one.length)
    for (const [path, name] of paths) tell(error, name, path, 0)
  }
  return error
}

/** Where the driver, and what this library makes of its errors, says what was stored twice. */
const inner = ['errorResponse', 'err', 'cause', 'error', 'failures', 'writeErrors'] as const
const texts = ['message', 'stack', 'errmsg'] as const

function tell(error: unknown, name: string, path: string, depth: number): void {
  if (typeof error !== 'object' || error === null || depth > 4) return
  const holder = error as Plain
  const said = texts.filter((key) => Object.hasOwn(holder, key) && isOfDuplicate(String(holder[key]), path))
  for (const key of said) holder[key] = renamed(String(holder[key]), name, path)
  for (const key of ['keyPattern', 'keyValue']) {
    const told = holder[key]
    if (!isPlainObject(told) || !Object.hasOwn(told, path)) continue
    const entries = Object.entries(told).map(([each, value]) =>
      each === path ? [name, key === 'keyValue' ? hidden : value] : [each, value],
    )
    holder[key] = Object.fromEntries(entries)
  }
  // What was sent has the index value, too.
  if (said.length > 0 && holder.op !== undefined) holder.op = without(holder.op, path)
  for (const key of inner) {
    const within = holder[key]
    const each = within instanceof Map ? [...within.values()] : [within].flat()
    for (const item of each) tell(item, name, path, depth + 1)
  }
}

function without(sent: unknown, path: string): unknown {
  if (Array.isArray(sent)) return sent.map((item) => without(item, path))
  if (!isPlainObject(sent)) return sent
  const entries = Object.entries(sent).filter(([key]) => key !== path)
  return Object.fromEntries(entries.map(([key, value]) => [key, without(value, path)]))
}

/** Not what this library itself says, which names the path where that is what it is about. */
function isOfDuplicate(text: string, path: string): boolean {
  return text.includes('E11000') && text.includes(path)
}

/** `index: email_bidx_1 dup key: { email_bidx: BinData(0, …) }`, in whatever form a server shows bytes. */
function renamed(text: string, name: string, path: string): string {
  const values = new RegExp(`(?<![\\w$])${path.replaceAll(/\W/g, '\\$&')}: ("[^"]*"|\\w+(\\([^)]*\\))?)`, 'g')
  return text.replaceAll(values, `${name}: ${hidden}`).replaceAll(path, name)
}
