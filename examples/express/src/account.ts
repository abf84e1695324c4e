import { createHash, randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { model, Schema } from 'mongoose'
import { kmsEncrypted } from 'mongoose-kms-encrypted'
import { kms } from './kms'

// The hash of a password is no personal data: it is left in the clear, and out of what is selected.
const accountSchema = new Schema({ password: { type: String, required: true, select: false } }).plugin(kmsEncrypted, {
  ...kms,
  requireActor: true,
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

/** Who is logged in: by the hash of a token, for the database is not to let anybody in. MongoDB deletes it an hour later. */
const sessionSchema = new Schema({
  _id: String,
  account: { type: Schema.Types.ObjectId, required: true },
  at: { type: Date, default: Date.now, expires: '1h' },
})
export const Session = model('Session', sessionSchema)

export async function signUp(email: string, password: string): Promise<string> {
  const { id } = await Account.create({ email, password: await hash(password) })
  return id
}

/** @returns a token, or nothing, and not whether it was the address or the password that is wrong */
export async function logIn(email: string, password: string): Promise<string | undefined> {
  const account = await Account.findOne({ email }).select('password')
  // Without an account it takes as long.
  const isRight = await matches(password, account?.password ?? (await nobodys))
  if (!account || !isRight) return undefined
  const token = randomBytes(32).toString('base64url')
  await Session.create({ _id: digest(token), account: account._id })
  return token
}

/** The id of the account that a token is for. */
export async function whoHas(token: string): Promise<string | undefined> {
  const session = await Session.findById(digest(token))
  return session?.account.toString()
}

const digest = (token: string) => createHash('sha256').update(token).digest('base64url')

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
