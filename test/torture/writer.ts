import { operations, type Work, weights } from './operations'
import { connectOwn, OwnRecords } from './own'
import { type Program, run, type Start } from './program'
import {
  anyRecord,
  connect,
  failingKms,
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

const maxTries = 8
/** How many operations of one process are under way at once. */
const strands = 4
/** How many logins all sign up for: so many that each is taken by many at about the same time. */
const logins = 200
const kinds = Object.keys(weights)
/** How many operations of a writer are chosen in turn, and not by chance. */
const firstTurns = 8
const totalWeight = Object.values(weights).reduce((sum, weight) => sum + weight, 0)

/** One process that writes, every second one with data keys of the older version. */
async function main(program: Program, { shared, number, seed }: Start): Promise<void> {
  const random = randomOf(seed)
  const kms = failingKms(shared, 0.1, random, () => program.count('KMS calls refused'))
  const version = 1 + (number % 2)
  const { connection, Tortured, Member, sent } = await connect(shared, version, kms)
  const connected = await connectOwn(shared, version, kms)
  let written = 0
  const value: Work['value'] = (id, field) => sign(shared, id, field, `writer${number}.${++written}`)
  const own = new OwnRecords(connected, random, value, number)
  const work: Work = {
    Tortured,
    Member,
    own,
    random,
    login: () => sign(shared, anyRecord, 'login', `login${Math.floor(random() * logins)}`),
    stale: [],
    value,
    async insist(write) {
      for (let attempt = 1; ; attempt++) {
        try {
          await write()
          return
        } catch (error) {
          if ((error as { code?: unknown }).code !== 'RECORD_CHANGED' || attempt === maxTries) throw error
          program.count('conflicts')
        }
      }
    },
  }
  let turns = 0
  await program.work(strands, async () => {
    // Short as a run may be, all kinds are begun with.
    const first = kinds[(number * firstTurns + turns) % kinds.length] as string
    const kind = turns++ < firstTurns ? first : choose(random() * totalWeight)
    await program.attempt(kind, () => operations[kind]!(work))
    await program.attempt('read', () => readOne(shared, Tortured, pickId(random)))
    program.count('commands searched', sent.count)
    sent.count = 0
    for (const found of sent.inTheClear.splice(0)) program.tell(`${kind}, or beside it: ${found}`)
  })
  await program.attempt('own records at the end', () => own.checkAll())
  await Promise.all([connection.close(), connected.connection.close()])
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

run(main)
