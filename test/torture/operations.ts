import { type OwnRecords, ownFields } from './own'
import {
  anyRecord,
  type FieldName,
  fields,
  ids,
  mapKeys,
  type Place,
  pick,
  pickId,
  placeNames,
  places,
  type Random,
  type SignedName,
  subdocumentsAt,
  whole,
} from './record'

/** What a writer works with. */
export interface Work {
  readonly Tortured: any
  /** Those who have a login that no other one has. */
  readonly Member: any
  readonly own: OwnRecords
  readonly random: Random
  /** Makes a new value for a field of a record. */
  value(id: number, field: SignedName): string
  /** One of the logins for which all writers sign up. */
  login(): string
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
    // Any: those that writers meet at are there, mostly.
    const id = pick(random, ids)
    const subdocuments = Object.fromEntries(
      placeNames.map((place) => [place, whole(place, 'created', value(id, place))]),
    )
    await Tortured.create({
      _id: id,
      name: 'created',
      email: value(id, 'email'),
      note: value(id, 'note'),
      ...subdocuments,
    })
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
  /** One value for several records, or values for one, its subdocuments included. */
  async updateMany(work) {
    const [many, id] = [work.random() < 0.7, pickId(work.random)]
    const of = many ? anyRecord : id
    const filter = { _id: many ? { $in: someIds(work.random) } : id, ownedOne: { $exists: true } }
    const update = {
      $set: { ...someValues(work, of), 'ownedOne.text': work.value(of, 'ownedOne') },
      $inc: { count: 1 },
    }
    await work.insist(async () => work.Tortured.updateMany(filter, update))
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
    const place = pick(work.random, placeNames)
    if (!record?.isSelected(place)) return
    const value = work.value(record._id, place)
    const [, note] = pick(work.random, [[], ...subdocumentsAt(record, place)]) as [string?, any?]
    const { shape } = places[place]
    if (note) note.text = value
    else if (shape === 'list') record[place].push({ label: 'saved', text: value })
    else if (shape === 'map' && record[place])
      record[place].set(pick(work.random, mapKeys), { label: 'saved', text: value })
    else record[place] = whole(place, 'saved', value)
    await work.insist(() => record.save())
  },
  async pushNote(work) {
    const id = pickId(work.random)
    const place = pick(work.random, placesOf('list'))
    const note = { label: 'pushed', text: work.value(id, place) }
    await work.insist(async () =>
      work.Tortured.updateOne({ _id: id }, { $push: { [place]: { $each: [note], $slice: -4 } } }),
    )
  },
  async updateNote(work) {
    const id = pickId(work.random)
    const place = pick(work.random, placeNames)
    const path = { list: `${place}.0`, single: place, map: `${place}.${pick(work.random, mapKeys)}` }[
      places[place].shape
    ]
    const value = work.value(id, place)
    const isWhole = places[place].shape !== 'list' && work.random() < 0.3
    const update = isWhole
      ? { [path]: { label: 'put', text: value } }
      : { [`${path}.text`]: value, [`${path}.label`]: 'updated' }
    const filter = isWhole ? { _id: id } : { _id: id, [path]: { $exists: true } }
    await work.insist(async () => work.Tortured.updateOne(filter, update))
  },
  async rotateNote(work) {
    const record = await load(work)
    if (!record) return
    const own = placeNames.filter((place) => !places[place].owned).flatMap((place) => subdocumentsAt(record, place))
    if (own.length > 0) await pick(work.random, own)[1].rotateKmsKey()
  },
  async pullNote(work) {
    const record = await load(work)
    const place = pick(work.random, placeNames)
    const [found] = record ? subdocumentsAt(record, place) : []
    if (!found) return
    const [path, note] = found
    const update =
      places[place].shape === 'list' ? { $pull: { [place]: { _id: note._id } } } : { $unset: { [path]: 1 } }
    await work.Tortured.updateOne({ _id: record._id }, update)
  },
  /** Two at once, beside those of other writers: by then the login is taken, and by one. */
  async signUp({ Member, login: anyLogin, random }) {
    const login = anyLogin()
    const create = () => Member.create({ name: 'created', login })
    const upsert = () => Member.updateOne({ login }, { $set: { name: 'upserted' } }, { upsert: true })
    const outcomes = await Promise.allSettled([create(), random() < 0.5 ? upsert() : create()])
    const found = await Member.countDocuments({ login })
    const isThere = outcomes.some((outcome) => outcome.status === 'fulfilled')
    if (found > 1 || (isThere && found === 0)) throw new Error(`${found} members have one login`)
    for (const outcome of outcomes)
      if (outcome.status === 'rejected' && outcome.reason.code !== 11000) throw outcome.reason
  },
  /** Records are found by what they hold, and by nothing else. */
  async updateByValue(work) {
    const record = await work.Tortured.findById(pickId(work.random))
    const { email, phone } = (await record?.decrypt()) ?? {}
    if (!email) return
    const filter = phone && work.random() < 0.5 ? { email, phone } : { email }
    await work.insist(async () =>
      work.Tortured.updateOne(filter, { note: work.value(anyRecord, 'note'), $inc: { count: 1 } }),
    )
  },
  async rewrapKmsKey(work) {
    const record = await load(work)
    if (record) await work.insist(() => record.rewrapKmsKey())
  },
  /** As an application writes that knows of no encryption. */
  ownOldUpdate({ own, random }) {
    return own.change(async (_id, values) => {
      const field = pick(random, ownFields)
      const written = { [field]: values[field] }
      await own.old.updateOne({ _id }, { $set: written })
      return written
    })
  },
  ownOldReplace({ own }) {
    return own.change(async (_id, values) => {
      await own.old.replaceOne({ _id }, values)
      return values
    })
  },
  ownSave({ own, random, insist }) {
    return own.change(async (_id, values) => {
      const record = await own.Own.findById(_id)
      const field = pick(random, ownFields)
      record[field] = values[field]
      await insist(() => record.save())
      return { [field]: values[field] }
    })
  },
  /** By its value, too, whether that is encrypted by now or not. */
  ownUpdate({ own, random, insist }) {
    return own.change(async (_id, { note }, { email }) => {
      await insist(() => own.Own.updateOne(random() < 0.5 ? { _id } : { email }, { note, $inc: { count: 1 } }).orFail())
      return { note }
    })
  },
  ownMigrate({ own, insist }) {
    return own.change(async (_id) => {
      const record = await own.Own.findById(_id)
      await insist(() => record.migrateToKms())
      await insist(() => record.rotateKmsKey())
      return {}
    })
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
  create: 8,
  updateOne: 14,
  findOneAndUpdate: 12,
  updateMany: 8,
  upsert: 10,
  replaceOne: 5,
  bulkWrite: 8,
  bulkSave: 6,
  rotateKmsKey: 8,
  saveAndRotate: 8,
  saveNote: 16,
  pushNote: 6,
  updateNote: 10,
  rotateNote: 6,
  pullNote: 2,
  signUp: 8,
  updateByValue: 6,
  rewrapKmsKey: 4,
  ownOldUpdate: 8,
  ownOldReplace: 4,
  ownSave: 8,
  ownUpdate: 8,
  ownMigrate: 4,
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

function placesOf(shape: string): Place[] {
  return placeNames.filter((place) => places[place].shape === shape)
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
