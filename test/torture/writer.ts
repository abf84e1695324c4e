import { operations, type Work, weights } from './operations'
import {
  anyRecord,
  connect,
  fields,
  indexProblems,
  isSigned,
  pickId,
  placeNames,
  randomOf,
  type Shared,
  sign,
  subdocumentsAt,
} from './record'

/** What a writer tells the program that started it: counts since the last message, or what must not have happened. */
export interface Message {
  readonly counts: Readonly<Record<string, number>>
  readonly failure?: string
}

/** Errors that a user has to expect, by name or code, and how they are counted. */
const expected: Readonly<Record<string, string>> = {
  RECORD_CHANGED: 'refused as changed, for good',
  KMS_THROTTLED: 'failed for the KMS',
  11000: 'refused as a duplicate',
  DocumentNotFoundError: 'found the record deleted',
  VersionError: 'refused as of an older version',
  MongooseBulkSaveIncompleteError: 'found a record of several deleted',
  UPDATE_REFUSED: 'refused as undecided',
  UPDATE_INCOMPLETE: 'stopped after some records',
}

const maxTries = 8
/** How many operations of one process are under way at once. */
const strands = 4
/** How many logins all sign up for: so many that each is taken by many at about the same time. */
const logins = 200
const totalWeight = Object.values(weights).reduce((sum, weight) => sum + weight, 0)

/** One process that writes until it is told to stop, or killed. */
async function main(shared: Shared, name: string, seed: number): Promise<void> {
  const random = randomOf(seed)
  let counts: Record<string, number> = {}
  const count = (what: string) => {
    counts[what] = (counts[what] ?? 0) + 1
  }
  const tell = (failure?: string) => {
    process.send?.({ counts, ...(failure === undefined ? {} : { failure }) } satisfies Message)
    counts = {}
  }
  let stopping = false
  process.once('message', () => {
    stopping = true
  })
  const { connection, Tortured, Member, sent } = await connect(shared, 0.1, random, () => count('KMS calls refused'))
  let written = 0
  const work: Work = {
    Tortured,
    Member,
    random,
    login: () => sign(shared, anyRecord, 'login', `login${Math.floor(random() * logins)}`),
    stale: [],
    value: (id, field) => sign(shared, id, field, `${name}.${++written}`),
    async insist(write) {
      for (let attempt = 1; ; attempt++) {
        try {
          await write()
          return
        } catch (error) {
          if ((error as { code?: unknown }).code !== 'RECORD_CHANGED' || attempt === maxTries) throw error
          count('conflicts')
        }
      }
    },
  }
  const attempt = async (kind: string, operation: () => Promise<void>) => {
    try {
      await operation()
      count(kind)
    } catch (error) {
      const { code, name: errorName } = error as { code?: string; name: string }
      const outcome = expected[String(code)] ?? expected[errorName]
      if (outcome) count(outcome)
      else tell(`${kind}: ${(error as Error).stack}`)
    }
  }
  const write = async () => {
    while (!stopping) {
      const kind = choose(random() * totalWeight)
      await attempt(kind, () => operations[kind]!(work))
      await attempt('read', () => readOne(shared, Tortured, pickId(random)))
      counts['commands searched'] = (counts['commands searched'] ?? 0) + sent.count
      sent.count = 0
      for (const found of sent.inTheClear.splice(0)) tell(`${kind}, or beside it: ${found}`)
      tell()
    }
  }
  await Promise.all(Array.from({ length: strands }, write))
  await connection.close()
  process.disconnect?.()
}

function choose(point: number): string {
  let rest = point
  for (const [kind, weight] of Object.entries(weights)) {
    rest -= weight
    if (rest < 0) return kind
  }
  throw new RangeError(`no operation at ${point}`)
}

/** Whatever the others are doing, a record that is read is whole. */
async function readOne(shared: Shared, Tortured: any, id: number): Promise<void> {
  const raw = await Tortured.collection.findOne({ _id: id })
  if (!raw) return
  const record = Tortured.hydrate(raw)
  const open = await record.decrypt()
  for (const field of fields) {
    if (open[field] !== undefined && open[field] !== null && !isSigned(shared, id, field, open[field]))
      throw new Error(`record ${id}: nobody wrote what is in ${field}`)
  }
  for (const place of placeNames) {
    for (const [path, note] of subdocumentsAt(record, place)) {
      if (!isSigned(shared, id, place, await note.text))
        throw new Error(`record ${id}: nobody wrote what is in ${path}`)
    }
  }
  for (const problem of await indexProblems(shared, raw, record)) throw new Error(problem)
}

const [shared, name, seed] = process.argv.slice(2)
main(JSON.parse(shared as string), name as string, Number(seed)).catch((error) => {
  process.send?.({ counts: {}, failure: `writer ${name}: ${error.stack}` } satisfies Message)
  process.exitCode = 1
})
