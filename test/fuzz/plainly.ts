import type { Encrypt } from './subject'

/** Fields as they are, on the twin. */
export const plainly: Encrypt = (schema, fields) => {
  schema.add(Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, folded(field)])))
}

/** What a blind index takes for the same, in any case, is the same as the twin stores it. */
function folded(field: any): unknown {
  return field?.blindIndex?.caseInsensitive ? { ...field, lowercase: true } : field
}
