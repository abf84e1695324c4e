import express, { type NextFunction, type Request, type Response } from 'express'
import mongoose from 'mongoose'
import { KmsEncryptedError, withAudit } from 'mongoose-kms-encrypted'
import { Account, logIn, signUp, whoHas } from './account'

export const app = express()
app.use(express.json())

app.post('/accounts', async ({ body }, res) => {
  const id = await signUp(text(body, 'email'), text(body, 'password'))
  res.status(201).json({ id })
})

/** The blind index finds the account: nothing is decrypted, and no record is opened for anybody. */
app.post('/sessions', async ({ body }, res) => {
  const token = await logIn(text(body, 'email'), text(body, 'password'))
  if (token) res.status(201).json({ token })
  else res.sendStatus(401)
})

/** Whoever is logged in is the actor of all that comes below, also after it has awaited something. */
app.use(async (req, res, next) => {
  const token = /^Bearer (.+)$/.exec(req.get('authorization') ?? '')?.[1]
  const id = token && (await whoHas(token))
  if (!id) {
    res.sendStatus(401)
    return
  }
  res.locals.id = id
  // The path without the query, which may have personal data in it.
  withAudit({ actor: id, reason: `${req.method} ${req.path}` }, next)
})

app.get('/me', async (_req, res) => {
  const me = await Account.findById(res.locals.id).orFail()
  res.json({ ...me.toJSON(), ...(await me.decrypt()) })
})

app.patch('/me', async ({ body }, res) => {
  const me = await Account.findById(res.locals.id).orFail()
  me.email = text(body, 'email')
  await me.save()
  res.sendStatus(204)
})

class NoText extends Error {}

/** A text of a body. An object in its place, such as `{ "$ne": null }`, would be a condition. */
function text(body: unknown, name: string): string {
  const value: unknown = Object(body)[name]
  if (typeof value !== 'string') throw new NoText(name)
  return value
}

/** Errors of Mongoose quote values of fields in the clear, so that neither they nor their messages are sent or logged. */
app.use((error: unknown, _req: Request, res: Response, _next: NextFunction) => {
  if (error instanceof NoText) res.status(400).json({ invalid: [error.message] })
  else if (error instanceof mongoose.Error.ValidationError) res.status(400).json({ invalid: Object.keys(error.errors) })
  else if (Object(error).code === 11000) res.status(409).json({ taken: Object.keys(Object(error).keyPattern) })
  else if (Object(error).status < 500) res.sendStatus(Object(error).status)
  else {
    // Those of this library have no values.
    console.error(error instanceof KmsEncryptedError ? error : Object(error).name)
    res.sendStatus(500)
  }
})
