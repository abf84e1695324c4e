import mongoose from 'mongoose'

/** Whether the subdocuments of a copy have the copy for their parent. Before that, Mongoose refuses to validate them, encrypted or not. */
export const copiesParents = (() => {
  const { Mongoose, Schema } = mongoose
  const Plain = new Mongoose().model('Plain', new Schema({ one: new Schema({ a: Number }) }) as never) as any
  const copy = new Plain({ one: { a: 1 } }).$clone()
  return copy.one.$parent() === copy
})()

/** Whether the arrays of a copy that nobody changed are unchanged. Before that, Mongoose writes them with the copy, but for encrypted ones. */
export const copiesArraysUnchanged = (() => {
  const { Mongoose, Schema } = mongoose
  const Plain = new Mongoose().model('Plain', new Schema({ list: [Number] }) as never) as any
  return !Plain.hydrate({ _id: 'a'.repeat(24), list: [1] })
    .$clone()
    .isModified('list')
})()
