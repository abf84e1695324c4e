import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import mongoose, { type Connection, type Mongoose } from 'mongoose'
import { kmsEncrypted, localKms } from 'mongoose-kms-encrypted'
import { fields } from './records'

// By hand: they come with `npm ci` here, and not all of them with types.
const load = createRequire(__filename)

/** A library that encrypts fields, or none. */
export interface Peer {
  readonly name: string
  readonly keyOfRecord: string
  /** Whether all fields are in one ciphertext. */
  readonly isWhole?: boolean
  readonly mongoose: Mongoose
  model(connection: Connection): PeerModel
}

export type PeerModel = mongoose.Model<any>

const key = randomBytes(32)
const encryptedFields = Object.keys(fields)

export function peers(): Peer[] {
  const eight: Mongoose = load('mongoose-8')
  return [
    plainOn(mongoose),
    {
      name: 'mongoose-kms-encrypted, localKms',
      keyOfRecord: 'yes',
      mongoose,
      model: (on) =>
        on.model('Ours', new mongoose.Schema({}).plugin(kmsEncrypted, { provider: localKms(), fields })) as PeerModel,
    },
    {
      name: named('mongoose-field-encryption'),
      keyOfRecord: 'no',
      mongoose,
      model(on) {
        const { fieldEncryption } = load('mongoose-field-encryption')
        const options = { fields: encryptedFields, secret: key.toString('hex') }
        return on.model('FieldEncryption', new mongoose.Schema(fields).plugin(fieldEncryption, options))
      },
    },
    {
      name: named('mongoose-aes-encryption'),
      keyOfRecord: 'no',
      mongoose,
      model(on) {
        const plugin = load('mongoose-aes-encryption')({ key: key.toString('hex') })
        const paths = Object.fromEntries(encryptedFields.map((field) => [field, { type: String, encrypted: true }]))
        return on.model('AesEncryption', new mongoose.Schema(paths).plugin(plugin))
      },
    },
    {
      name: `${named('mongoose-encrypt-fields')}, given AES-256-GCM`,
      keyOfRecord: 'no',
      mongoose,
      model(on) {
        const { EncryptedString } = load('mongoose-encrypt-fields')
        EncryptedString.setEncryptionFunctions({ encrypt, decrypt, isEncrypted })
        const paths = Object.fromEntries(encryptedFields.map((field) => [field, EncryptedString]))
        return on.model('EncryptFields', new mongoose.Schema(paths))
      },
    },
    plainOn(eight),
    {
      name: named('mongoose-encryption'),
      keyOfRecord: 'no',
      isWhole: true,
      mongoose: eight,
      model(on) {
        const options = { encryptionKey: key.toString('base64'), signingKey: randomBytes(64).toString('base64') }
        return on.model('Encryption', new eight.Schema(fields).plugin(load('mongoose-encryption'), options))
      },
    },
  ]
}

function plainOn(instance: Mongoose): Peer {
  return {
    name: `plain Mongoose ${instance.version}`,
    keyOfRecord: '–',
    mongoose: instance,
    model: (on) => on.model('Plain', new instance.Schema(fields)),
  }
}

function named(name: string): string {
  return `${name} ${load(`${name}/package.json`).version}`
}

/** What `mongoose-encrypt-fields` leaves to its user. */
function encrypt(value: string): string {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  const ciphertext = Buffer.concat([cipher.update(value), cipher.final()])
  return `${Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]).toString('hex')}.gcm`
}

function decrypt(stored: string): string {
  const bytes = Buffer.from(stored.slice(0, -4), 'hex')
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12)).setAuthTag(bytes.subarray(-16))
  return decipher.update(bytes.subarray(12, -16), undefined, 'utf8') + decipher.final('utf8')
}

const isEncrypted = (value: string) => value.endsWith('.gcm')
