import mongoose from 'mongoose'
import type { Part } from './part'
import { sizedLikeAws } from './providers'
import { encryptedModel, fieldNames, type PlainModel, plainModel, values } from './records'

export const size: Part = {
  title: 'Stored bytes',
  async run() {
    const { calculateObjectSize } = mongoose.mongo.BSON
    const record = values()
    const storedBy = async (Model: PlainModel) => {
      const { _id } = await new Model(record).save()
      return (await Model.collection.findOne({ _id }))!
    }
    const plain = await storedBy(plainModel())
    const encrypted = await storedBy(encryptedModel('Encrypted', { provider: sizedLikeAws() }))
    const { encrypted_kms_key } = encrypted
    const rows: [string, number][] = [
      ['a plain document of three strings of 32 bytes', calculateObjectSize(plain)],
      ['the same, encrypted', calculateObjectSize(encrypted)],
      ['of which the wrapped key with its path', calculateObjectSize({ encrypted_kms_key }) - calculateObjectSize({})],
      ...fieldNames.map((field): [string, number] => [
        `of which the envelope of ${field}, beyond BSON of { v: value }`,
        encrypted[field].length() - calculateObjectSize({ v: record[field] }),
      ]),
    ]
    return {
      tables: [{ head: ['', 'bytes'], rows: rows.map(([what, bytes]) => [what, `${bytes}`]) }],
      notes: ['With a key id and a wrapped key as long as those of AWS KMS.'],
    }
  },
}
