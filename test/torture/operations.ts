import { type FieldName, fields, pick, pickId, type Random, type SignedName, text } from './record'

/** What a writer works with. */
export interface Work {
  readonly Tortured: any
  readonly random: Random
  /** Makes a new value for a field of a record. */
  value(id: number, field: SignedName): string
  /** Makes a write, and makes it again as long as it is refused because the record changed. */
  insist(write: () => Promise<unknown>): Promise<void>
  /** Documents that were loaded some time ago. */
  readonly stale: any[]
}

/** Every kind of operation, by its name. */
export const operations: Readonly<Record<string, (work: Work) => Promise<void>>> = {
  async save(work) {
    const record = await load(work)
    if (!record) return
    Object.assign(record, someValues(work, record._id))
    await work.insist(() => record.save())
  },
  async create({ Tortured, random, value }) {
    const id = pickId(random)
    await Tortured.create({ _id: id, name: 'created', email: value(id, 'email'), note: value(id, 'note') })
  },
  async updateOne(work) {
    const id = pickId(work.random)
    const update = { $set: { ...someValues(work, id), name: 'updated' } }
    await work.insist(async () => work.Tortured.updateOne({ _id: id }, update))
  },
  async findOneAndUpdate(work) {
    const id = pickId(work.random)
    const update = { ...someValues(work, id), $inc: { count: 1 } }
    await work.insist(async () => work.Tortured.findOneAndUpdate({ _id: id }, update))
  },
  async upsert(work) {
    const id = pickId(work.random)
    const update = { $set: someValues(work, id), $setOnInsert: { name: 'upserted' } }
    await work.insist(async () => work.Tortured.updateOne({ _id: id }, update, { upsert: true }))
  },
  async replaceOne(work) {
    const id = pickId(work.random)
    const replacement = { name: 'replaced', ...someValues(work, id) }
    await work.insist(async () => work.Tortured.replaceOne({ _id: id }, replacement, { upsert: work.random() < 0.5 }))
  },
  async bulkWrite(work) {
    const [one, two, three] = someIds(work.random)
    await work.insist(() =>
      work.Tortured.bulkWrite([
        { updateOne: { filter: { _id: one }, update: { $set: someValues(work, one!) } } },
        { replaceOne: { filter: { _id: two }, replacement: { name: 'replaced', ...someValues(work, two!) } } },
        { updateOne: { filter: { _id: three }, update: { $set: someValues(work, three!), $inc: { count: 1 } } } },
      ]),
    )
  },
  async bulkSave(work) {
    const loaded = await work.Tortured.find({ _id: { $in: someIds(work.random) } })
    for (const record of loaded) Object.assign(record, someValues(work, record._id))
    if (loaded.length > 0) await work.insist(() => work.Tortured.bulkSave(loaded))
  },
  async rotateKmsKey(work) {
    const record = await load(work)
    if (record) await work.insist(() => record.rotateKmsKey())
  },
  /** Within one process, on one document object. */
  async saveAndRotate(work) {
    const record = await load(work)
    if (!record) return
    Object.assign(record, someValues(work, record._id))
    const outcomes = await Promise.allSettled([
      work.insist(() => record.save()),
      work.insist(() => record.rotateKmsKey()),
      record.email?.then?.(() => {}),
    ])
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  },
  async saveNote(work) {
    const record = await load(work)
    if (!record?.notes) return
    const note = pick(work.random, [undefined, ...record.notes])
    if (note) note.text = work.value(record._id, text)
    else record.notes.push({ label: 'saved', text: work.value(record._id, text) })
    await work.insist(() => record.save())
  },
  async pushNote(work) {
    const id = pickId(work.random)
    const note = { label: 'pushed', text: work.value(id, text) }
    await work.insist(async () =>
      work.Tortured.updateOne({ _id: id }, { $push: { notes: { $each: [note], $slice: -4 } } }),
    )
  },
  async updateNote(work) {
    const id = pickId(work.random)
    const update = { 'notes.0.text': work.value(id, text), 'notes.0.label': 'updated' }
    await work.insist(async () => work.Tortured.updateOne({ _id: id, 'notes.0': { $exists: true } }, update))
  },
  async rotateNote(work) {
    const record = await load(work)
    const note = record?.notes?.length > 0 && pick(work.random, [...record.notes])
    if (note) await note.rotateKmsKey()
  },
  async pullNote(work) {
    const record = await load(work)
    if (!(record?.notes?.length > 0)) return
    await work.Tortured.updateOne({ _id: record._id }, { $pull: { notes: { _id: record.notes[0]._id } } })
  },
  async clear(work) {
    const id = pickId(work.random)
    const field = pick(work.random, fields)
    const update = work.random() < 0.5 ? { [field]: null } : { $unset: { [field]: 1 } }
    await work.insist(async () => work.Tortured.updateOne({ _id: id }, update))
  },
  async delete({ Tortured, random }) {
    await Tortured.deleteOne({ _id: pickId(random) })
  },
  /** A record without a data key, made anew, so that there are first writers again and again. */
  async recreate({ Tortured, random }) {
    const _id = pickId(random)
    await Tortured.collection.deleteOne({ _id })
    await Tortured.collection.insertOne({ _id, name: 'clear' })
  },
}

/** How often each kind is chosen, out of their sum. */
export const weights: Readonly<Record<keyof typeof operations, number>> = {
  save: 20,
  create: 4,
  updateOne: 14,
  findOneAndUpdate: 12,
  upsert: 10,
  replaceOne: 5,
  bulkWrite: 8,
  bulkSave: 6,
  rotateKmsKey: 8,
  saveAndRotate: 8,
  saveNote: 12,
  pushNote: 6,
  updateNote: 8,
  rotateNote: 6,
  pullNote: 2,
  clear: 3,
  delete: 2,
  recreate: 6,
}

/** A record as it is now, or one that was loaded long ago, or a part of one. */
async function load({ Tortured, random, stale }: Work): Promise<any> {
  const chance = random()
  if (chance < 0.3 && stale.length > 0) return stale.splice(Math.floor(random() * stale.length), 1)[0]
  const query = Tortured.findById(pickId(random))
  const record = await (chance < 0.5 ? query.select('name') : query)
  if (record && stale.length < 20 && random() < 0.5) {
    stale.push(record)
    return Tortured.findById(pickId(random))
  }
  return record
}

function someValues({ random, value }: Work, id: number): Partial<Record<FieldName, string>> {
  const chosen = fields.filter(() => random() < 0.5)
  const names = chosen.length > 0 ? chosen : [pick(random, fields)]
  return Object.fromEntries(names.map((name) => [name, value(id, name)]))
}

/** Three different ones. */
function someIds(random: Random): number[] {
  const chosen = new Set<number>()
  while (chosen.size < 3) chosen.add(pickId(random))
  return [...chosen]
}
