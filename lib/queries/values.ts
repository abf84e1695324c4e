import { holdsOthers } from '../mongoose/plain'
import { Box } from '../schema/box'

/** What the driver would make of a value: documents and whatever else says itself what is stored of it. */
export function asSent(value: unknown): unknown {
  if (!isOpen(value) || Array.isArray(value) || isMap(value)) return value
  const { toBSON } = value as { toBSON?: unknown }
  return typeof toBSON === 'function' ? toBSON.call(value) : value
}

/** Whether a value holds others; a box is whole. */
export function isOpen(value: unknown): value is object {
  return !(value instanceof Box) && holdsOthers(value)
}

export function isMap(value: object): value is Map<unknown, unknown> {
  return Object.prototype.toString.call(value) === '[object Map]'
}

/** The elements of an array; `undefined` for anything else. */
export function itemsOf(value: unknown): readonly unknown[] | undefined {
  const sent = asSent(value)
  return Array.isArray(sent) ? sent : undefined
}

/** The keys and values of an object, whatever its class, or of a Map; `undefined` for arrays and for what is one value. */
export function entriesOf(value: unknown): readonly [string, unknown][] | undefined {
  const sent = asSent(value)
  if (!isOpen(sent) || Array.isArray(sent)) return undefined
  return isMap(sent) ? Array.from(sent, ([key, item]) => [String(key), item]) : Object.entries(sent)
}

/** The same as an object, without anything where there are no keys. */
export function optionsOf(value: unknown): Readonly<Record<string, unknown>> {
  return Object.fromEntries(entriesOf(value) ?? [])
}

/** Paths with what they are to be; objects within objects are paths with dots. */
export function pathsIn(value: unknown, prefix = ''): [string, unknown][] {
  return (entriesOf(value) ?? []).flatMap(([key, inner]): [string, unknown][] => {
    const entries = entriesOf(inner) ?? []
    const isNested = entries.length > 0 && !hasOperators(entries)
    return isNested ? pathsIn(inner, `${prefix}${key}.`) : [[`${prefix}${key}`, inner]]
  })
}

/** Whether these are operators, such as `{ $gt: 1 }`, and not an object that is compared or built. */
export function hasOperators(entries: readonly [string, unknown][]): boolean {
  return entries.some(([key]) => key.startsWith('$'))
}

/** Whether a projection gives a path a switch, by a number of whatever class or a boolean, and no expression. */
export function isSwitch(value: unknown): boolean {
  if (['string', 'symbol', 'function'].includes(typeof value)) return false
  return itemsOf(value) === undefined && entriesOf(value) === undefined
}

/** Whether a projection leaves a path out. */
export function isOff(value: unknown): boolean {
  return isSwitch(value) && Number(value) === 0
}
