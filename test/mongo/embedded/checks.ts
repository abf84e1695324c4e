import { notImplemented, ServerError } from './errors'
import { currentDate, modifiers } from './operators'
import { show } from './show'
import { isNumeric, toNumber, typeOf } from './values'

/** What no path of an update may look like. */
export function checkPath(key: string, path: string[]): void {
  if (key === '') throw new ServerError(56, 'An empty update path is not valid.')
  if (path.includes(''))
    throw new ServerError(56, `The update path '${key}' contains an empty field name, which is not allowed.`)
  if (path[0]!.startsWith('$')) {
    throw new ServerError(
      path[0] === '$' || path[0]!.startsWith('$[') ? 2 : 52,
      `The path '${key}' may not begin with '${path[0]}'`,
    )
  }
  if (path.filter((part) => part === '$').length > 1) {
    throw new ServerError(2, `Too many positional (i.e. '$') elements found in path '${key}'`)
  }
  const dollar = path.find((part) => part.startsWith('$') && part !== '$' && !/^\$\[[a-zA-Z0-9]*\]$/.test(part))
  if (dollar !== undefined) throw notImplemented(`updates of the dollar-prefixed field '${dollar}' in '${key}'`)
}

/** What is wrong whatever the document holds. */
export function checkOperand(name: string, key: string, operand: unknown): void {
  if ((name === '$inc' || name === '$mul') && !isNumeric(operand)) {
    const verb = name === '$inc' ? 'increment' : 'multiply'
    throw new ServerError(14, `Cannot ${verb} with non-numeric argument: {${key}: ${show(operand)}}`)
  }
  if (name === '$pop' && (!isNumeric(operand) || Math.abs(toNumber(operand)) !== 1)) {
    throw new ServerError(9, `$pop expects 1 or -1, found: ${show(operand)}`)
  }
  if (name === '$pullAll' && !Array.isArray(operand)) {
    throw new ServerError(2, `$pullAll requires an array argument but was given a ${typeOf(operand)}`)
  }
  if (name === '$rename') {
    if (typeof operand !== 'string')
      throw new ServerError(2, `The 'to' field for $rename must be a string: ${key}: ${show(operand)}`)
    if (/\$/.test(key) || /\$/.test(operand))
      throw new ServerError(2, 'The source and target field for $rename may not be dynamic')
    if (`${key}.`.startsWith(`${operand}.`) || `${operand}.`.startsWith(`${key}.`)) {
      throw new ServerError(
        2,
        `The source and target field for $rename must differ and not be on the same path: ${key}`,
      )
    }
    checkPath(operand, operand.split('.'))
  }
  if (name === '$push' || name === '$addToSet') modifiers(name, operand)
  if (name === '$currentDate') currentDate(operand)
}
