import { Schema } from 'mongoose'
import { copiesArraysUnchanged, copiesParents } from './copying'
import { useDatabase } from './support'
import { fieldsOf, shown, twinsOf } from './twins'

const { connection } = useDatabase()

const fields = {
  email: String,
  age: Number,
  dob: Date,
  tags: [String],
  address: { city: String, geo: { lat: Number } },
  items: [{ _id: false, label: String, qty: Number }],
  home: new Schema({ city: String }, { _id: false }),
  scores: { type: Map, of: Number },
  any: {},
  bytes: Buffer,
}
const names = Object.keys(fields)
const paths = [...names, 'name', 'address.city', 'address.geo', 'address.geo.lat', 'tags.0', 'items.0.qty', 'home.city']

const values = () => ({
  name: 'Ada',
  email: 'a@b',
  age: 5,
  dob: new Date('2000-02-29T00:00:00Z'),
  tags: ['a', 'b'],
  address: { city: 'Rome', geo: { lat: 1 } },
  items: [{ label: 'x', qty: 1 }],
  home: { city: 'Oslo' },
  scores: { math: 1 },
  any: { a: { b: 1 } },
  bytes: Buffer.from('abc'),
})

/** All that Mongoose tells of what has changed. */
function stateOf(doc: any) {
  return {
    isModified: doc.isModified(),
    modified: paths.filter((path) => doc.isModified(path)),
    either: doc.isModified(['age', 'tags']),
    text: doc.isModified('age tags'),
    direct: paths.filter((path) => doc.isDirectModified(path)),
    paths: doc.modifiedPaths().sort(),
    children: doc.modifiedPaths({ includeChildren: true }).sort(),
    directPaths: doc.directModifiedPaths().sort(),
  }
}

const steps: [string, (doc: any) => void][] = [
  ['nothing', () => {}],
  ['a clear path', (doc) => doc.set('name', 'Bob')],
  [
    'assigning a value',
    (doc) => {
      doc.email = 'c@d'
    },
  ],
  ['set()', (doc) => doc.set('email', 'c@d')],
  ['set() with an object', (doc) => doc.set({ email: 'c@d', age: 6 })],
  ['the same value again', (doc) => doc.set({ email: 'a@b', age: 5, tags: ['a', 'b'], dob: values().dob })],
  [
    'a value that casts to the same',
    (doc) => {
      doc.age = '5'
    },
  ],
  [
    'null',
    (doc) => {
      doc.email = null
    },
  ],
  [
    'undefined',
    (doc) => {
      doc.email = undefined
    },
  ],
  ['a dotted path', (doc) => doc.set('address.city', 'Paris')],
  ['a deep dotted path', (doc) => doc.set('address.geo.lat', 9)],
  ['dotted paths in an object', (doc) => doc.set({ 'address.city': 'Paris', 'address.geo.lat': 2 })],
  [
    'assigning within a nested object',
    (doc) => {
      doc.address.geo.lat = 7
    },
  ],
  [
    'assigning a nested object',
    (doc) => {
      doc.address = { city: 'Paris' }
    },
  ],
  ['a nested object by set()', (doc) => doc.set('address.geo', { lat: 3 })],
  ['push', (doc) => doc.tags.push('c')],
  [
    'pull and pop',
    (doc) => {
      doc.tags.pull('a')
      doc.tags.pop()
    },
  ],
  ['an element by set()', (doc) => doc.tags.set(0, 'z')],
  ['an element by a dotted path', (doc) => doc.set('tags.1', 'z')],
  ['splice', (doc) => doc.tags.splice(0, 1, 'q', 'r')],
  [
    'an element that was assigned and marked',
    (doc) => {
      doc.tags[0] = 'z'
      doc.markModified('tags')
    },
  ],
  ['pushing a subdocument', (doc) => doc.items.push({ label: 'y', qty: 2 })],
  [
    'a path of a subdocument',
    (doc) => {
      doc.items[0].qty = 9
    },
  ],
  ['a path of a subdocument by a dotted path', (doc) => doc.set('items.0.label', 'w')],
  [
    'a path of a single subdocument',
    (doc) => {
      doc.home.city = 'Bergen'
    },
  ],
  [
    'a single subdocument',
    (doc) => {
      doc.home = { city: 'Bergen' }
    },
  ],
  [
    'no subdocument',
    (doc) => {
      doc.home = undefined
    },
  ],
  ['a map', (doc) => doc.scores.set('art', 2)],
  ['deleting from a map', (doc) => doc.scores.delete('math')],
  ['a map entry by a dotted path', (doc) => doc.set('scores.art', 3)],
  [
    'anything, marked',
    (doc) => {
      doc.any.a.b = 2
      doc.markModified('any')
    },
  ],
  ['a path below anything', (doc) => doc.set('any.a.b', 3)],
  ['marking', (doc) => doc.markModified('email')],
  ['marking below', (doc) => doc.markModified('address.city')],
  [
    'unmarking',
    (doc) => {
      doc.email = 'c@d'
      doc.age = 6
      doc.unmarkModified('email')
    },
  ],
  [
    'bytes',
    (doc) => {
      doc.bytes = Buffer.from('xyz')
    },
  ],
  ['bytes in place', (doc) => doc.bytes.write('zz', 0)],
  [
    'several at once',
    (doc) => {
      doc.name = 'Bob'
      doc.age = 7
      doc.tags.push('c')
    },
  ],
]

describe.each(steps)('%s', (_name, step) => {
  test('is tracked and saved as on paths that are not encrypted', async () => {
    const twins = twinsOf(connection, { name: String }, fields)
    const { plain, encrypted } = await twins.both(async (model) => {
      const { _id } = await model.create(values())
      const doc = await model.findById(_id)
      await doc.decrypt?.()
      step(doc)
      const changed = stateOf(doc)
      const inMemory = shown(await fieldsOf(doc, names))
      await doc.save()
      const saved = stateOf(doc)
      return { changed, saved, inMemory, ...(await fieldsOf(await model.findById(_id), ['name', ...names])) }
    })
    expect(encrypted).toEqual(plain)
  })

  test('is tracked in a new record', async () => {
    const twins = twinsOf(connection, { name: String }, fields)
    const { plain, encrypted } = await twins.both(async (model) => {
      const doc = new model(values())
      step(doc)
      const changed = stateOf(doc)
      await doc.save()
      return { changed, saved: stateOf(doc), ...(await fieldsOf(await model.findById(doc._id), ['name', ...names])) }
    })
    expect(encrypted).toEqual(plain)
  })
})

const few = { address: { city: String, since: Date }, tags: [String], scores: { type: Map, of: Number } }

/** Of a record that was stored without values, and saved by the very document: from then on Mongoose knows what it was. */
test.each<[string, (doc: any) => unknown]>([
  ['a nested object in the place of none', (doc) => doc.set('address', { city: 'Oslo' })],
  [
    'a nested object after one was looked at',
    (doc) => {
      void doc.address
      doc.address = { city: 'Oslo' }
    },
  ],
  [
    'a nested object over what was set in it',
    (doc) => {
      doc.address.city = 'Rome'
      doc.address = { city: 'Oslo' }
    },
  ],
  [
    'a nested object over what was set by a path',
    (doc) => {
      doc.set('address.city', 'Rome')
      doc.set({ address: { city: 'Oslo' } })
    },
  ],
  [
    'a path of a nested object that was taken hold of before',
    (doc) => {
      const { address } = doc
      doc.address = { since: new Date(0) }
      address.city = 'Oslo'
    },
  ],
  ['a whole array', (doc) => doc.set('tags', ['a'])],
  ['a map', (doc) => doc.set('scores', { math: 2 })],
])('%s is saved by the document that made the record', async (_name, change) => {
  const { plain, encrypted } = await twinsOf(connection, { name: String }, few).both(async (model) => {
    const doc = await model.create({ name: 'Ada' })
    await doc.decrypt?.()
    change(doc)
    await doc.save()
    return fieldsOf(await model.findById(doc._id), Object.keys(few))
  })
  expect(encrypted).toEqual(plain)
})

test('what is assigned in the place of a default is tracked, though it is the same', async () => {
  const defaults = {
    tags: { type: [String], default: () => ['a'] },
    scores: { type: Map, of: Number, default: () => ({ art: 1 }) },
    email: { type: String, default: 'a@b' },
  }
  const same = { tags: ['a'], scores: { art: 1 }, email: 'a@b' }
  const { plain, encrypted } = await twinsOf(connection, { name: String }, defaults).both(async (model) => {
    const { _id } = await model.create({ name: 'Ada' })
    await model.collection.updateOne({ _id }, { $unset: { tags: 1, scores: 1, email: 1 } })
    const found = await model.findById(_id)
    const before = found.modifiedPaths()
    found.set(same)
    return [before, found.isModified(), found.modifiedPaths().sort()]
  })
  expect(encrypted).toEqual(plain)
})

test.each([
  ['an array', { tags: ['z'] }],
  ['an array of subdocuments', { items: [] }],
  ['a nested object', { address: { city: 'Oslo' } }],
  ['a subdocument', { home: { city: 'Rome' } }],
  ['a map', { scores: { art: 2 } }],
  ['a value', { email: 'c@d' }],
])('%s that is assigned after a save is tracked', async (_name, change) => {
  const { plain, encrypted } = await twinsOf(connection, { name: String }, fields).both(async (model) => {
    const made = await model.create(values())
    made.set(change)
    const found = await model.findById(made._id)
    await found.decrypt?.()
    found.name = 'Bob'
    await found.save()
    found.set(change)
    const { children: _children, ...states } = stateOf(found)
    return [made.isModified(), made.modifiedPaths(), Object.keys(made.getChanges().$set), states]
  })
  expect(encrypted).toEqual(plain)
})

describe('a clone', () => {
  const { items: _items, home: _home, ...withoutSubdocuments } = fields
  const copied = copiesParents ? fields : withoutSubdocuments

  test.each([false, true])(
    'that nobody changed writes nothing, and so takes nothing back (opened: %s)',
    async (opened) => {
      const { plain, encrypted } = await twinsOf(connection, { name: String }, copied).both(async (model) => {
        const { _id } = await model.create(values())
        const found = await model.findById(_id)
        if (opened) await found.decrypt?.()
        const clone = found.$clone()
        const changed = { email: 'z@z', address: { city: 'Zug' }, bytes: Buffer.from('z'), any: 'z' }
        await model.updateOne({ _id }, { ...changed, ...(copiesArraysUnchanged && { tags: ['z'] }) })
        await clone.save()
        return fieldsOf(await model.findById(_id), ['name', ...names])
      })
      expect(encrypted).toEqual(plain)
    },
  )

  test('saves what is assigned to it', async () => {
    const { plain, encrypted } = await twinsOf(connection, { name: String }, copied).both(async (model) => {
      const clone = (await model.create(values())).$clone()
      clone.set({ tags: [], address: { city: 'Oslo' }, scores: {}, home: { city: 'Rome' } })
      await clone.save()
      return fieldsOf(await model.findById(clone._id), ['name', ...names])
    })
    expect(encrypted).toEqual(plain)
  })
})

test('what was set and then ignored is not saved', async () => {
  const { plain, encrypted } = await twinsOf(connection, { name: String }, fields).both(async (model) => {
    const { _id } = await model.create(values())
    const doc = await model.findById(_id)
    await doc.decrypt?.()
    doc.set({ email: 'c@d', age: 7 })
    doc.$ignore('email')
    await doc.save()
    return fieldsOf(await model.findById(_id), ['name', ...names])
  })
  expect(encrypted).toEqual(plain)
})

test.each(['unmarkModified', '$ignore'])(
  'what is assigned after %s() and a save is saved, though it was locked before',
  async (way) => {
    const few = { tags: [String], address: { city: String }, scores: { type: Map, of: Number }, email: String, any: {} }
    const steps = {
      tags: [['first'], ['second']],
      address: [{ city: 'Paris' }, { city: 'Oslo' }],
      scores: [{ a: 1 }, { a: 2 }],
      email: ['first', 'second'],
      any: [{ a: 1 }, { a: 2 }],
    }
    const { plain, encrypted } = await twinsOf(connection, { name: String }, few).both(async (model) => {
      const { _id } = await model.create({ name: 'Ada', tags: ['x'], address: { city: 'Rome' }, email: 'x' })
      const doc = await model.findById(_id)
      for (const [name, [value]] of Object.entries(steps)) {
        doc[name] = value
        doc[way](name)
      }
      await doc.save()
      const between = await fieldsOf(await model.findById(_id), Object.keys(few))
      for (const [name, [, value]] of Object.entries(steps)) doc[name] = value
      await doc.save()
      return [between, await fieldsOf(await model.findById(_id), Object.keys(few))]
    })
    expect(encrypted).toEqual(plain)
  },
)
