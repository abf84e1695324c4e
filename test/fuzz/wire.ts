import type { Shape } from './shape'

type Plain = Record<string, any>

const isPlain = (value: any): value is Plain =>
  value !== null && typeof value === 'object' && !Array.isArray(value) && !value._bsontype && !(value instanceof Date)

const isEnvelope = (value: any) => value?._bsontype === 'Binary' && value.sub_type === 0x80
const isAllowed = (value: unknown) => value === null || value === undefined || isEnvelope(value)

/**
 * Looks at the places of encrypted fields in commands: what stands there and is no envelope, `null` or condition on
 * being there must not be sent, whatever its type. Texts are looked for everywhere besides, by `Needles`.
 */
export class Wire {
  readonly #paths: ReadonlySet<string>

  constructor({ fields }: Shape) {
    this.#paths = new Set(
      fields.map(({ name, within }) => (within ? `${within}.${within === 'byName' ? '*.' : ''}${name}` : name)),
    )
  }

  /** The first path that is sent in the clear by a command, or nothing. */
  clearPath(command: Plain): string | undefined {
    return first([
      ...(command.documents ?? []).map((document: unknown) => () => this.#inValue(document, '')),
      ...(command.updates ?? []).flatMap(({ q, u }: Plain) => [() => this.#inFilter(q, ''), () => this.#inUpdate(u)]),
      ...(command.deletes ?? []).map(
        ({ q }: Plain) =>
          () =>
            this.#inFilter(q, ''),
      ),
      ...(command.ops ?? []).flatMap((operation: Plain) => [
        () => this.#inValue(operation.document, ''),
        () => this.#inFilter(operation.filter, ''),
        () => this.#inUpdate(operation.updateMods),
      ]),
      () => this.#inFilter(command.filter ?? command.query, ''),
      () => this.#inUpdate(command.update),
      ...(command.pipeline ?? []).map((stage: Plain) => () => this.#inFilter(stage.$match, '')),
    ])
  }

  #inValue(value: unknown, path: string): string | undefined {
    const place = this.#placeOf(path)
    if (place === 'at')
      return isAllowed(value) ? undefined : `${path} (${typeof value}: ${Object.keys(Object(value)).join(', ')})`
    if (place === 'below') return path
    if (Array.isArray(value)) return first(value.map((item) => () => this.#inValue(item, path)))
    if (!isPlain(value)) return undefined
    return first(
      Object.entries(value).map(
        ([key, item]) =>
          () =>
            this.#inValue(item, join(path, key)),
      ),
    )
  }

  #inUpdate(update: unknown): string | undefined {
    if (!isPlain(update)) return undefined
    if (!Object.keys(update).some((key) => key.startsWith('$'))) return this.#inValue(update, '')
    return first(
      Object.entries(update).flatMap(([operator, changes]) => {
        // Not an update that a server would take, and yet it was sent.
        if (!operator.startsWith('$')) return [() => this.#inValue(changes, operator)]
        return Object.entries(isPlain(changes) ? changes : {}).map(
          ([path, value]) =>
            () =>
              this.#inChange(operator, path, value),
        )
      }),
    )
  }

  #inChange(operator: string, path: string, value: any): string | undefined {
    switch (operator) {
      case '$unset':
        return undefined
      case '$set':
      case '$setOnInsert':
        return this.#inValue(value, path)
      case '$push':
      case '$addToSet':
        if (this.#placeOf(path)) return path
        return first([value?.$each ?? value].flat().map((item) => () => this.#inValue(item, path)))
      case '$pull':
        return this.#placeOf(path) ? path : this.#inFilter(value, path)
      case '$rename':
        return this.#placeOf(path) || this.#placeOf(String(value)) ? path : undefined
      default:
        return this.#placeOf(path) ? path : undefined
    }
  }

  #inFilter(filter: unknown, prefix: string): string | undefined {
    if (!isPlain(filter)) return undefined
    return first(
      Object.entries(filter).map(([key, value]) => () => {
        if (Array.isArray(value) && /^\$(and|or|nor)$/.test(key))
          return first(value.map((each) => () => this.#inFilter(each, prefix)))
        if (key === '$elemMatch') return this.#inFilter(value, prefix)
        if (key.startsWith('$')) return undefined
        const path = join(prefix, key)
        const place = this.#placeOf(path)
        if (place) return isCondition(value) ? undefined : path
        if (isPlain(value) && Object.keys(value).some((name) => name.startsWith('$')))
          return this.#inFilter(value, path)
        return this.#inValue(value, path)
      }),
    )
  }

  /** Whether a path is that of an encrypted field, or is below one. Positions in arrays do not count. */
  #placeOf(path: string): 'at' | 'below' | undefined {
    const parts = path.split('.').filter((part) => !/^(\d+|\$.*)$/.test(part))
    if (parts[0] === 'byName' && parts.length > 1) parts[1] = '*'
    if (this.#paths.has(parts.join('.'))) return 'at'
    return parts.some((_, index) => index > 0 && this.#paths.has(parts.slice(0, index).join('.'))) ? 'below' : undefined
  }
}

/** What can be asked of an encrypted field: whether it is there, and whether it is still the very envelope. */
function isCondition(value: any): boolean {
  if (!isPlain(value)) return isAllowed(value)
  return Object.entries(value).every(([operator, operand]) => {
    if (operator === '$exists' || operator === '$type') return true
    if (operator === '$not') return isCondition(operand)
    if (operator === '$in' || operator === '$nin') return Array.isArray(operand) && operand.every(isAllowed)
    return (operator === '$eq' || operator === '$ne') && isAllowed(operand)
  })
}

/** Numbers, dates, decimals and ids that stand anywhere in a command, by their digits. */
export function* digitsIn(value: any): Generator<string> {
  if (typeof value === 'number' || typeof value === 'bigint') yield String(value)
  else if (value instanceof Date) yield String(value.getTime())
  else if (value?._bsontype === 'Binary') return
  else if (value?._bsontype) yield String(value)
  else if (Array.isArray(value)) for (const item of value) yield* digitsIn(item)
  else if (value !== null && typeof value === 'object') for (const item of Object.values(value)) yield* digitsIn(item)
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}

function first(looks: readonly (() => string | undefined)[]): string | undefined {
  for (const look of looks) {
    const found = look()
    if (found !== undefined) return found
  }
  return undefined
}
