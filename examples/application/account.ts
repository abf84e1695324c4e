import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { model, mongo, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'
import { kms } from './kms'

const accountSchema = new Schema({ password: { type: String, required: true } }).plugin(kmsEncrypted, {
  ...kms,
  fields: {
    email: {
      type: String,
      required: true,
      trim: true,
      match: /^\S+@\S+$/,
      blindIndex: { unique: true, caseInsensitive: true },
    },
  },
})

export const Account = model('Account', accountSchema)

/** Says neither whose the address is nor what it is. */
export class AddressTaken extends Error {
  constructor() {
    super('There is an account with this address already.')
  }
}

/** @throws {AddressTaken} */
export async function signUp(email: string, password: string): Promise<string> {
  // It is the index that has one of two at once fail, so it has to be there.
  await Account.init()
  const account = await Account.create({ email, password: await hash(password) }).catch(refuse)
  return account.id
}

/** @returns the id of the account, or nothing, and not whether it was the address or the password that is wrong */
export async function logIn(email: string, password: string): Promise<string | undefined> {
  const account = await Account.findOne({ email })
  // Without an account it takes as long.
  const isRight = await matches(password, account?.password ?? (await nobodys))
  return account && isRight ? account.id : undefined
}

/** @throws {AddressTaken} */
export async function changeAddress(id: string, email: string): Promise<void> {
  const account = await Account.findById(id).orFail()
  account.email = email
  await account.save().catch(refuse)
}

/** MongoDB's error of a duplicate names the field and not its value, but is for the log, and not for whoever asked. */
function refuse(error: unknown): never {
  throw error instanceof mongo.MongoServerError && error.code === 11000 ? new AddressTaken() : error
}

const derive = promisify<string, Buffer, number, Buffer>(scrypt)

async function hash(password: string, salt = randomBytes(16)): Promise<string> {
  const derived = await derive(password, salt, 32)
  return Buffer.concat([salt, derived]).toString('base64')
}

async function matches(password: string, stored: string): Promise<boolean> {
  const salt = Buffer.from(stored, 'base64').subarray(0, 16)
  return timingSafeEqual(Buffer.from(await hash(password, salt)), Buffer.from(stored))
}

const nobodys = hash(randomBytes(16).toString('hex'))
