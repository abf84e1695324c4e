/** Fields of every shape that changes differently: values, dates, arrays, Mixed, bytes, nested objects, subdocuments. */
export const everyShape = {
  email: String,
  dob: Date,
  tags: [String],
  any: {},
  bytes: Buffer,
  address: { city: String, since: Date },
  history: [{ _id: false, at: Date, note: {} }],
}

/** A value for each, made anew, since tests change them in place. */
export function valueOfEveryShape() {
  return {
    email: 'a@b',
    dob: new Date('2000-02-29T00:00:00Z'),
    tags: ['a'],
    any: { a: [{ b: 1 }] },
    bytes: Buffer.from('abc'),
    address: { city: 'Rome', since: new Date(0) },
    history: [{ at: new Date(0), note: { text: 'x' } }],
  }
}
