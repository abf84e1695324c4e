import { at, contactSchema, expectReads, secret, useFaults, userModel } from './support'

const { connection } = useFaults()

describe('fault 34: a complex field of a subdocument that is new below a path that was set', () => {
  const since = new Date('1999-09-14')
  const contact = () =>
    contactSchema({ fields: { tags: [String], address: { city: { type: String, minlength: 3 }, since: Date } } })
  const Owner = userModel(connection, {
    name: String,
    contacts: [contact()],
    byPlace: { type: Map, of: contact() },
    one: contact(),
    nested: { one: contact() },
  })

  test.each(
    ['contacts.0', 'byPlace.london', 'one', 'nested.one'].flatMap((place) => [
      [place, 'tags', () => [secret('confidential')]] as const,
      [place, 'address', () => ({ city: secret('Ockham'), since })] as const,
    ]),
  )('is validated and saved, alone and beside a rotation: %s.%s', async (place, field, value) => {
    for (const beside of [(_doc: any) => {}, (doc: any) => doc.rotateKmsKey()]) {
      await Owner.deleteMany({})
      const { _id } = await Owner.create({ name: 'Ada' })
      const doc = await Owner.findById(_id)
      doc.set(`${place}.${field}`, value())
      const outcomes = await Promise.allSettled([doc.save(), beside(doc)])
      expect(outcomes.map(({ status, ...rest }) => [status, String((rest as any).reason ?? '')])).toEqual([
        ['fulfilled', ''],
        ['fulfilled', ''],
      ])
      await expectReads(Owner, {}, { [`${place}.${field}`]: value() })
    }
  })

  test('is validated by whoever asks, side by side, as Mongoose allows of subdocuments', async () => {
    const doc = new Owner({ one: { address: { city: 'X' } } })
    const kinds = async () => {
      const outcomes = await Promise.allSettled([doc.one.validate(), doc.one.validate(), doc.one.validate()])
      return outcomes.map((outcome: any) => outcome.reason && Object.values<any>(outcome.reason.errors)[0].kind)
    }
    expect(await kinds()).toContain('minlength')
    doc.one.address.city = secret('Ockham')
    expect(await kinds()).toEqual([undefined, undefined, undefined])
  })

  test('is refused where it is not valid', async () => {
    const doc = await Owner.findById((await Owner.create({ name: 'Ada' }))._id)
    doc.set('byPlace.london.address', { city: 'X' })
    await expect(doc.save()).rejects.toMatchObject({
      errors: { 'byPlace.london.address.city': { kind: 'minlength' } },
    })
    expect((await at(await Owner.findOne(), 'byPlace'))?.size ?? 0).toBe(0)
  })
})
