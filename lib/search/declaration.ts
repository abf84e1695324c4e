import { ConfigurationError, OperationError } from '../errors'
import { lengthPrefixed } from '../format/bytes'
import { folded, type Kind, kindOf } from './normal'

/** What of a blind index may be otherwise from one version to the next. */
export interface IndexVersionOptions {
  /** Whether strings that differ in upper and lower case alone are the same value. */
  readonly caseInsensitive?: boolean
  /** Makes of a value, once it is cast, the one that is compared. */
  readonly normalize?: (value: any) => unknown
  /** How many bits of an index value are kept, 1 to 256: of fewer bits, several values have the same. Default 256. */
  readonly bits?: number
}

/** The option `blindIndex` of a field. */
export interface BlindIndexOptions extends IndexVersionOptions {
  /** Whether no two records may have the same value. */
  readonly unique?: boolean
  /** The generation of index key and normal form that is written, from 1 to 127, greater than the previous ones. Default 1. */
  readonly version?: number
  /** Earlier generations that are still asked for and written beside, by number; what is not said is as it is now. */
  readonly previousVersions?: Readonly<Record<number, IndexVersionOptions>>
}

/** One entry of the option `blindIndexes`: an index over several fields together. */
export interface CompoundIndexOptions extends Omit<BlindIndexOptions, 'normalize' | 'previousVersions'> {
  /** The names of two or more fields of the same use of the plugin. */
  readonly fields: readonly string[]
  readonly previousVersions?: Readonly<Record<number, Omit<IndexVersionOptions, 'normalize'>>>
}

/** One generation of a blind index. */
export interface IndexVersion {
  readonly number: number
  /** The subtype of the BSON Binary that an index value is: it tells the version, so that it can be seen which records are current. */
  readonly subtype: number
  readonly bits: number
  /** The bytes by which the values of the fields are the same or are not. */
  readonly normalForm: (values: readonly unknown[]) => Uint8Array
}

/** One blind index, as the schema was built with it. */
export interface BlindIndex {
  /** The field, or the name of an index over several. */
  readonly name: string
  /** Where the index values are stored. */
  readonly path: string
  readonly fields: readonly string[]
  readonly isUnique: boolean
  /** Whether other values than the one that is asked for may be found. */
  readonly isShortened: boolean
  /** The live generations, the newest first. */
  readonly versions: readonly IndexVersion[]
}

/** Bits of an index value that is not shortened. */
export const fullBits = 256

/** A field as far as an index must know it. */
interface Indexed {
  readonly name: string
  /** The name of its schema type. */
  readonly instance: string
}

const fieldOptions = ['unique', 'caseInsensitive', 'normalize', 'bits', 'version', 'previousVersions'] as const
const compoundOptions = ['fields', 'unique', 'caseInsensitive', 'bits', 'version', 'previousVersions'] as const

/**
 * Reads the options `blindIndex` and `unique` of a field.
 *
 * @throws {ConfigurationError} FIELD_INVALID when there can be no such index
 */
export function compileIndex(field: Indexed, option: unknown, isUnique: unknown): BlindIndex | undefined {
  const place = `fields.${field.name}`
  if (isUnique !== undefined && typeof isUnique !== 'boolean')
    throw invalid(place, 'unique must be true or false. A message of its own is not supported.')
  if (option === false && isUnique) throw invalid(place, 'unique needs a blind index. Remove blindIndex: false.')
  if ((option === undefined || option === false) && !isUnique) return undefined
  const given = option === undefined || option === true ? {} : option
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw invalid(place, 'blindIndex must be true, or options such as { unique: true }.')
  const options = checkOptions(`${place}: blindIndex`, given, fieldOptions) as BlindIndexOptions
  return compile(place, field.name, [field], { ...options, unique: isUnique === true || options.unique === true })
}

/**
 * Reads the option `blindIndexes`.
 *
 * @param find gives a field of the same use
 * @throws {ConfigurationError} FIELD_INVALID when there can be no such index
 */
export function compileCompounds(option: unknown, find: (name: string) => Indexed | undefined): BlindIndex[] {
  if (option === undefined) return []
  if (typeof option !== 'object' || option === null || Array.isArray(option))
    throw invalid('blindIndexes', "expected an object, like { name_dob: { fields: ['name', 'dob'] } }.")
  return Object.entries(option).map(([name, given]) => {
    const place = `blindIndexes.${name}`
    if (!/^[^$.\0][^.\0]*$/.test(name)) throw invalid(place, 'a name must not be empty, start with $ or hold a dot.')
    if (typeof given !== 'object' || given === null)
      throw invalid(place, "expected options such as { fields: ['name'] }.")
    const options = checkOptions(place, given, compoundOptions) as CompoundIndexOptions
    return compile(place, name, fieldsOf(place, options.fields, find), options)
  })
}

function fieldsOf(place: string, names: unknown, find: (name: string) => Indexed | undefined): Indexed[] {
  if (!Array.isArray(names) || new Set(names).size < Math.max(2, names.length))
    throw invalid(place, 'fields must list two fields or more, each once.')
  return names.map((name) => {
    const field = find(name)
    if (field) return field
    throw invalid(place, `${String(name)} is no field of this use of the plugin.`)
  })
}

function compile(place: string, name: string, fields: readonly Indexed[], options: BlindIndexOptions): BlindIndex {
  const { unique = false, version = 1, previousVersions = {}, ...current } = options
  const kinds = fields.map(({ name: field, instance }) => {
    const kind = kindOf(instance)
    if (kind) return kind
    throw invalid(
      `fields.${field}`,
      `a value of the type ${instance} has parts, and only one that is whole can have a blind index. Index a field of its own.`,
    )
  })
  if (typeof previousVersions !== 'object' || previousVersions === null)
    throw invalid(place, 'previousVersions must be an object, like { 1: { caseInsensitive: false } }.')
  const previous = Object.entries(previousVersions).map(([key, changed]): [number, IndexVersionOptions] => {
    const number = checkVersion(`${place}: previousVersions`, Number(key))
    if (number >= version)
      throw invalid(place, `previousVersions has ${number}, and the current version is ${version}. Raise version.`)
    return [
      number,
      {
        ...current,
        ...checkOptions(`${place}: previousVersions.${key}`, changed, ['caseInsensitive', 'normalize', 'bits']),
      },
    ]
  })
  const versions = [[checkVersion(`${place}: version`, version), current] as const, ...previous.reverse()].map(
    ([number, each]) => makeVersion(place, number, fields, kinds, each),
  )
  const isShortened = versions.some(({ bits }) => bits < fullBits)
  if (unique && isShortened)
    throw invalid(place, 'bits leave values that are not the same with one index value, so it cannot be unique.')
  return Object.freeze({
    name,
    path: `${name}_bidx`,
    fields: fields.map((field) => field.name),
    isUnique: unique,
    isShortened,
    versions,
  })
}

function makeVersion(
  place: string,
  number: number,
  fields: readonly Indexed[],
  kinds: readonly Kind[],
  { caseInsensitive = false, normalize, bits = fullBits }: IndexVersionOptions,
): IndexVersion {
  if (caseInsensitive && !kinds.some(({ label }) => label === 'string'))
    throw invalid(place, 'caseInsensitive has a meaning for strings alone.')
  const parts = fields.map((field, index) => {
    const { label, encode } = kinds[index] as Kind
    return { ...field, index, label: Buffer.from(label), encode }
  })
  return Object.freeze({
    number,
    subtype: number === 1 ? 0 : 0x80 + number,
    bits,
    normalForm: (values: readonly unknown[]) => {
      const encoded: (Uint8Array | string)[] = []
      for (const { name, instance, index, label, encode } of parts) {
        const own = normalize ? normalized(name, normalize, values[index]) : values[index]
        const form = encode(caseInsensitive && typeof own === 'string' ? folded(own) : own)
        if (form === undefined) throw noForm(name, instance, own, normalize !== undefined)
        encoded.push(label, form)
      }
      return lengthPrefixed(encoded)
    },
  })
}

function checkOptions(place: string, given: object, known: readonly string[]): object {
  if (Object(given) !== given) throw invalid(place, 'expected an object of options.')
  const { unique, caseInsensitive, normalize, bits } = given as BlindIndexOptions
  const unknown = Object.keys(given).find((option) => !known.includes(option))
  if (unknown !== undefined) throw invalid(place, `there is no option ${unknown}. Use one of ${known.join(', ')}.`)
  for (const [name, value] of Object.entries({ unique, caseInsensitive })) {
    if (value !== undefined && typeof value !== 'boolean') throw invalid(place, `${name} must be true or false.`)
  }
  if (normalize !== undefined && typeof normalize !== 'function')
    throw invalid(place, 'normalize must be a function of the value.')
  if (bits !== undefined && !(Number.isInteger(bits) && bits >= 1 && bits <= fullBits))
    throw invalid(place, `bits must be an integer from 1 to ${fullBits}.`)
  return given
}

/** What a subtype that is free for users can tell. */
const latestVersion = 127

function checkVersion(place: string, version: unknown): number {
  if (Number.isInteger(version) && (version as number) > 0 && (version as number) <= latestVersion)
    return version as number
  throw invalid(place, `expected an integer from 1 to ${latestVersion}, got ${String(version)}.`)
}

function invalid(place: string, message: string): ConfigurationError {
  return new ConfigurationError('FIELD_INVALID', `kmsEncrypted: ${place}: ${message}`)
}

function noForm(name: string, instance: string, value: unknown, isNormalized: boolean): OperationError {
  return new OperationError(
    'WRITE_REFUSED',
    `${name}: ${isNormalized ? 'its normalize gave' : 'it was given'} ${typeof value}, which is no ${instance} to make an index value of.`,
  )
}

function normalized(name: string, normalize: (value: any) => unknown, value: unknown): unknown {
  try {
    return normalize(value)
  } catch {
    throw new OperationError(
      'WRITE_REFUSED',
      `${name}: its normalize threw an error, so there is no index value to store or to ask for. What it says is left out, for it may hold the value.`,
    )
  }
}
