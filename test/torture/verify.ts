import { connectOwn, ownFields, ownIndexProblems } from './own'
import {
  connect,
  fields,
  holdsMarker,
  indexProblems,
  isSigned,
  kmsOf,
  type Place,
  placeNames,
  places,
  type Shared,
  subdocumentsAt,
} from './record'

/** What was found in the database at the end. */
export interface Verdict {
  readonly records: number
  readonly fields: number
  /** Those who signed up. */
  readonly members: number
  /** Those of one writer each. */
  readonly own: number
  /** Subdocuments with an encrypted field, by where they stand. */
  readonly notes: Readonly<Record<Place, number>>
  /** The most data keys that a record has. */
  readonly mostKeys: number
  /** Empty when all is well. */
  readonly problems: readonly string[]
}

/** Looks at every record: raw, and decrypted through a document loaded anew. */
export async function verify(shared: Shared): Promise<Verdict> {
  const { connection, Tortured, Member, sent } = await connect(shared, 2, kmsOf(shared))
  const problems: string[] = []
  let count = 0
  const notes = Object.fromEntries(placeNames.map((place) => [place, 0])) as Record<Place, number>
  let mostKeys = 0
  for (const { name } of await connection.db!.listCollections().toArray()) {
    for await (const bytes of connection.db!.collection(name).find({}, { raw: true })) {
      if (holdsMarker(bytes as unknown as Buffer)) problems.push(`a document of ${name} holds a value in the clear`)
    }
  }
  const stored = await Tortured.collection.find({}).toArray()
  for (const raw of stored) {
    const keys: unknown[] = raw.encrypted_kms_key ?? []
    mostKeys = Math.max(mostKeys, keys.length)
    const references = new Set(keys.map((entry: any) => hex(entry.commitment).slice(0, 8)))
    const record = await Tortured.findById(raw._id)
    const open = await record.decrypt().catch((error: Error) => {
      problems.push(`record ${raw._id} does not decrypt: ${error.message}`)
      return {}
    })
    for (const field of fields) {
      const envelope = raw[field]
      if (envelope === undefined || envelope === null) continue
      count++
      if (!references.has(hex(envelope).slice(2, 10))) problems.push(`record ${raw._id}: the key of ${field} is gone`)
      if (!isSigned(shared, raw._id, field, open[field])) problems.push(`record ${raw._id}: nobody wrote ${field}`)
    }
    for (const place of placeNames) {
      const loaded = new Map(subdocumentsAt(record, place))
      for (const [path, note] of subdocumentsAt(raw, place)) {
        notes[place]++
        const at = `record ${raw._id}, ${path}`
        const own = new Set((note.encrypted_kms_key ?? []).map((entry: any) => hex(entry.commitment).slice(0, 8)))
        mostKeys = Math.max(mostKeys, own.size)
        if (!(places[place].owned ? references : own).has(hex(note.text).slice(2, 10)))
          problems.push(`${at}: its key is gone`)
        const value = await Promise.resolve(loaded.get(path)?.text).catch((error: Error) => error.message)
        if (!isSigned(shared, raw._id, place, value)) problems.push(`${at}: nobody wrote "${value}"`)
      }
    }
    problems.push(...(await indexProblems(shared, raw, record)))
    const { email, phone } = open
    const asked = [email && { email }, email && phone && { email, phone }].filter(Boolean)
    for (const filter of asked) {
      if (await Tortured.exists({ _id: raw._id, ...filter })) continue
      problems.push(`record ${raw._id} is not found by ${Object.keys(filter).join(', ')}`)
    }
  }
  const members = await Member.collection.find({}).toArray()
  for (const raw of members) {
    const member = Member.hydrate(raw)
    const login = await member.login
    if (!isSigned(shared, raw._id, 'login', login)) problems.push(`member ${raw._id}: nobody wrote the login`)
    problems.push(...(await indexProblems(shared, raw, member)))
    const count = await Member.countDocuments({ login })
    if (count !== 1) problems.push(`${count} members have the login of ${raw._id}`)
  }
  problems.push(...sent.inTheClear)
  await connection.close()
  const own = await verifyOwn(shared, problems)
  return { records: stored.length, fields: count, members: members.length, own, notes, mostKeys, problems }
}

async function verifyOwn(shared: Shared, problems: string[]): Promise<number> {
  const { connection, Own } = await connectOwn(shared, 2, kmsOf(shared))
  const stored = await Own.collection.find({}).toArray()
  for (const raw of stored) {
    const open = await Own.hydrate(raw).decrypt()
    for (const field of ownFields)
      if (!isSigned(shared, raw._id, field, open[field])) problems.push(`own record ${raw._id}: nobody wrote ${field}`)
    for (const problem of await ownIndexProblems(shared, raw, open)) problems.push(`own record ${raw._id}: ${problem}`)
  }
  await connection.close()
  return stored.length
}

/** Of what is no binary value, nothing: it is found to be in the clear, or to have no key. */
function hex(binary: { buffer?: Uint8Array; position: number }): string {
  return Buffer.from(binary.buffer?.subarray(0, binary.position) ?? []).toString('hex')
}
