import { EventEmitter } from 'node:events'
import { Writable } from 'node:stream'
import { Schema } from 'mongoose'
import {
  type AuditLine,
  type AuditLog,
  auditLog,
  awsKms,
  currentAudit,
  type KeyProvider,
  localKms,
  withAudit,
} from '../lib'
import { type KmsStandIn, startKms } from './kms'
import { modelOf, secret, useDatabase } from './support'

const { connection, raw } = useDatabase()

let kms: KmsStandIn
let log: AuditLog | undefined
beforeAll(async () => {
  kms = await startKms()
})
afterEach(async () => {
  await log?.close()
  log = undefined
  kms.clearCalls()
})
afterAll(() => kms.stop())

const plain = modelOf(connection, new Schema({ name: String }), { fields: { email: String, phone: String } })
const strict = modelOf(connection, new Schema({ name: String }), { fields: { email: String }, requireActor: true })
const ada = () => ({ email: secret('ada@example.org') })
const fullAda = () => ({ ...ada(), phone: secret('+44-1815-1210') })

/** The lines that a log gets while something runs. */
async function linesOf(run: () => unknown): Promise<AuditLine[]> {
  const lines: AuditLine[] = []
  log = auditLog({ write: (line) => void lines.push(line) })
  await run()
  await log.close()
  return lines
}

describe('withAudit()', () => {
  test('gives actor, reason and details to the events of what it runs, and of nothing else', async () => {
    const { _id } = await plain.create(ada())
    const lines = await linesOf(async () => {
      await withAudit(
        { actor: 'grace', reason: 'case 7', ip: '10.0.0.1' },
        async () => (await plain.findById(_id)).email,
      )
      await (await plain.findById(_id)).email
    })
    expect(lines).toEqual([
      expect.objectContaining({
        operation: 'unwrap',
        record: `${plain.modelName}/${_id}`,
        model: plain.modelName,
        id: _id,
        fields: ['email', 'phone'],
        read: ['email'],
        outcome: 'ok',
        actor: 'grace',
        reason: 'case 7',
        details: { ip: '10.0.0.1' },
      }),
      expect.objectContaining({ actor: undefined, reason: undefined, details: undefined }),
    ])
  })

  test('adds what is told further in to what is told further out', async () => {
    const seen = withAudit({ actor: 'grace', reason: 'browsing' }, () => withAudit({ reason: 'case 7' }, currentAudit))
    expect(seen).toEqual({ actor: 'grace', reason: 'case 7' })
    expect(currentAudit()).toBeUndefined()
  })

  test('runs a query that it is given within, though it is awaited outside', async () => {
    await plain.create(ada())
    const onLoad = modelOf(connection, new Schema({}, { collection: plain.collection.name }), {
      fields: { email: String },
      decrypt: 'onLoad',
      requireActor: true,
      context: ({ _id }: any) => ({ Record: `${plain.modelName}/${_id}` }),
    })
    const found: any = await withAudit({ actor: 'grace' }, () => onLoad.findOne())
    expect(found.id).toBeDefined()
    const lines = await linesOf(() => withAudit({ actor: 'grace' }, () => onLoad.findOne()))
    expect(lines.map(({ actor }) => actor)).toEqual(['grace'])
  })

  test('returns what is no promise as it is, and lets errors through', async () => {
    expect(withAudit({ actor: 'grace' }, () => 7)).toBe(7)
    expect(() =>
      withAudit({ actor: 'grace' }, () => {
        throw new RangeError('mine')
      }),
    ).toThrow(RangeError)
  })

  test.each([undefined, null, 'ada', { actor: '' }, { actor: 7 }, { reason: '' }])('refuses %j', (audit) => {
    expect(() => withAudit(audit as never, () => 7)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  })

  test('holds for a call that waits for its turn, and is begun by another', async () => {
    const { keyId, ...inner } = localKms()
    const seen: unknown[] = []
    const provider: KeyProvider = {
      ...inner,
      keyId,
      concurrency: 1,
      unwrapDataKey(request) {
        seen.push(currentAudit()?.actor)
        return inner.unwrapDataKey(request)
      },
    }
    const Slow = modelOf(connection, new Schema({}), { provider, fields: { email: String } })
    const users = [await Slow.create(ada()), await Slow.create(ada())]
    const found = await Promise.all(users.map(({ _id }: any) => Slow.findById(_id)))
    await Promise.all(found.map((user, index) => withAudit({ actor: `actor ${index}` }, () => user.email)))
    expect(seen).toEqual(['actor 0', 'actor 1'])
  })

  test('two actors who open one record at once leave a line each; one who reads two fields, one line with both', async () => {
    const inner = localKms()
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const provider: KeyProvider = {
      ...inner,
      async unwrapDataKey(request) {
        await released
        return inner.unwrapDataKey(request)
      },
    }
    const User = modelOf(connection, new Schema({}), { provider, fields: { email: String, phone: String } })
    const { _id } = await User.create(fullAda())
    const [one, other] = [await User.findById(_id), await User.findById(_id)]
    const lines = await linesOf(async () => {
      const reading = [
        withAudit({ actor: 'ada' }, () => Promise.all([one.email, one.phone])),
        withAudit({ actor: 'grace' }, () => Promise.all([other.email, other.phone])),
      ]
      release()
      await Promise.all(reading)
    })
    expect(lines.map(({ actor, read }) => [actor, read])).toEqual([
      ['ada', ['email', 'phone']],
      ['grace', ['email', 'phone']],
    ])
  })
})

describe('requireActor', () => {
  test('refuses to open a record for nobody, and asks the KMS nothing', async () => {
    const { _id } = await strict.create(ada())
    const lines = await linesOf(async () => {
      const user = await strict.findById(_id)
      await expect(user.email).rejects.toMatchObject({ code: 'ACTOR_REQUIRED' })
      await expect(user.decrypt()).rejects.toMatchObject({ code: 'ACTOR_REQUIRED' })
      await expect(user.rotateKmsKey()).rejects.toMatchObject({ code: 'ACTOR_REQUIRED' })
      await expect(strict.decrypt(await strict.find().lean())).rejects.toMatchObject({ code: 'ACTOR_REQUIRED' })
      await expect(withAudit({ reason: 'none' }, () => user.email)).rejects.toMatchObject({ code: 'ACTOR_REQUIRED' })
    })
    expect(lines).toEqual([])
    expect(await withAudit({ actor: 'grace' }, async () => (await strict.findById(_id)).email)).toBe('ada@example.org')
  })

  test('is asked for what a cache holds as well', async () => {
    const Cached = modelOf(connection, new Schema({}), {
      fields: { email: String },
      requireActor: true,
      cache: { maxAgeMs: 60_000, maxEntries: 10 },
    })
    const { _id } = await Cached.create(ada())
    await withAudit({ actor: 'grace' }, async () => (await Cached.findById(_id)).email)
    await expect((await Cached.findById(_id)).email).rejects.toMatchObject({ code: 'ACTOR_REQUIRED' })
  })
})

describe('with AWS KMS', () => {
  const useKms = (options = {}) => {
    const { arn } = kms.createKey()
    return modelOf(connection, new Schema({}), {
      keyId: arn,
      provider: awsKms({ client: kms.client({ fastRetries: true }), ...options }),
      fields: { email: String },
    })
  }

  test('a line has the request id that CloudTrail has, of what was refused as well', async () => {
    const User = useKms()
    const lines = await linesOf(async () => {
      await User.create(ada())
      await (await User.findOne()).email
      const denial = kms.denyWhen({ operation: 'Decrypt' })
      await expect((await User.findOne()).email).rejects.toMatchObject({ code: 'KMS_ACCESS_DENIED' })
      denial.lift()
    })
    expect(lines.map(({ operation, outcome, requestId }) => [operation, outcome, requestId])).toEqual([
      ['generate', 'ok', kms.calls[0]!.requestId],
      ['unwrap', 'ok', kms.calls[1]!.requestId],
      ['unwrap', 'KMS_ACCESS_DENIED', kms.calls[2]!.requestId],
    ])
  })

  test('the actor is named in the user agent where that is asked for, in signs that can do no harm', async () => {
    const [Named, Silent] = [useKms({ actorInUserAgent: true }), useKms()]
    for (const User of [Named, Silent])
      await withAudit({ actor: `ada@example.org\r\nX: "${'y'.repeat(99)}` }, () => User.create(ada()))
    await Named.create(ada())
    const named = kms.calls.map(({ userAgent }) => / md\/actor#(\S*)/.exec(userAgent)?.[1])
    expect(named).toEqual([`ada-example.org--X---${'y'.repeat(43)}`, undefined, undefined])
    expect(kms.calls[0]!.userAgent).toMatch(/^aws-sdk-js\//)
  })
})

describe('auditLog()', () => {
  /** A stream that takes each chunk when it is told to. */
  class Slow extends Writable {
    readonly chunks: string[] = []
    readonly #given = new EventEmitter()
    #next: (error?: Error) => void = () => {}
    override _write(chunk: Buffer, _encoding: string, next: (error?: Error | null) => void) {
      this.chunks.push(chunk.toString())
      this.#next = next
      this.#given.emit('chunk')
    }
    chunk = () => new Promise<void>((resolve) => this.#given.once('chunk', resolve))
    take = (error?: Error) => this.#next(error)
    get lines(): any[] {
      return this.chunks
        .join('')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    }
  }

  test('writes one JSON object a line to a stream, together what came meanwhile', async () => {
    const stream = new Slow()
    log = auditLog({ write: stream })
    const first = stream.chunk()
    await plain.create(ada())
    await first
    for (let index = 0; index < 3; index++) await plain.create(ada())
    const second = stream.chunk()
    stream.take()
    await second
    const flushed = log.flush()
    stream.take()
    await flushed
    expect(stream.chunks).toHaveLength(2)
    expect(stream.lines).toHaveLength(4)
    expect(Object.keys(stream.lines[0]).sort()).toEqual(
      [
        'context',
        'durationMs',
        'fields',
        'id',
        'keyId',
        'model',
        'operation',
        'outcome',
        'read',
        'record',
        'time',
      ].sort(),
    )
    expect(JSON.stringify(stream.lines)).not.toContain('ada@example.org')
  })

  test('adds a document for each to the collection of a model', async () => {
    const Line = connection.model('AuditLine', new Schema({ actor: String }))
    log = auditLog({ model: Line })
    const { _id } = await withAudit({ actor: 'grace' }, () => plain.create(ada()))
    await log.close()
    expect(await raw(Line.collection.name)).toEqual([
      expect.objectContaining({
        time: expect.any(Date),
        operation: 'generate',
        record: `${plain.modelName}/${_id}`,
        id: _id,
        actor: 'grace',
        outcome: 'ok',
      }),
    ])
  })

  test('a record whose _id is a bigint is named in a line as any other', async () => {
    const Big = modelOf(connection, new Schema<any>({ _id: BigInt }), { fields: { email: String } })
    const texts: string[] = []
    const stream = new Writable({ write: (chunk, _encoding, done) => done(void texts.push(String(chunk))) as never })
    log = auditLog({ write: stream })
    await Big.create({ _id: 7n, ...ada() })
    await log.close()
    expect(texts.map((text) => JSON.parse(text))).toMatchObject([{ id: '7', record: `${Big.modelName}/7` }])
  })

  test('details that BSON cannot have lose their own line alone', async () => {
    const Line = connection.model('OddLine', new Schema({}))
    const lost: AuditLine[] = []
    log = auditLog({ model: Line, onError: (_, lines) => lost.push(...lines) })
    const circle: Record<string, unknown> = {}
    circle.self = circle
    const big = 'x'.repeat(17 * 1024 * 1024)
    const ids = await Promise.all(
      [{}, { circle }, {}, { big }, {}].map((details) =>
        withAudit({ actor: 'grace', ...details }, async () => (await plain.create(ada()))._id),
      ),
    )
    await log.close()
    expect(lost.map(({ id }) => id)).toEqual([ids[1], ids[3]])
    expect((await raw(Line.collection.name)).map(({ id }) => String(id)).sort()).toEqual(
      [ids[0], ids[2], ids[4]].map(String).sort(),
    )
  })

  test('gives to onError what was not written, each line once, and writes the next', async () => {
    const lost: [string, AuditLine[]][] = []
    let isBroken = true
    const written: AuditLine[] = []
    log = auditLog({
      async write(line) {
        if (isBroken) throw new Error('disk full')
        written.push(line)
      },
      onError: (error, lines) => lost.push([(error as Error).message, [...lines]]),
    })
    const first = await plain.create(ada())
    await log.flush()
    isBroken = false
    const second = await plain.create(ada())
    await log.close()
    expect(lost.map(([message, lines]) => [message, lines.map(({ id }) => id)])).toEqual([['disk full', [first._id]]])
    expect(written.map(({ id }) => id)).toEqual([second._id])
  })

  test('a stream that breaks ends nothing but the log', async () => {
    const stream = new Slow()
    const lost: unknown[] = []
    log = auditLog({ write: stream, onError: (error, lines) => lost.push([(error as Error).message, lines.length]) })
    const first = stream.chunk()
    await plain.create(ada())
    await first
    stream.take(new Error('disk full'))
    await log.flush()
    await plain.create(ada())
    await log.close()
    expect(lost).toEqual([
      ['disk full', 1],
      [expect.any(String), 1],
    ])
  })

  test('warns by default, and says how many', async () => {
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    log = auditLog({
      write() {
        throw new Error('disk full')
      },
    })
    await plain.create(ada())
    await log.close()
    expect(warned.mock.calls).toEqual([['auditLog: 1 lines were not written: disk full', { code: 'AUDIT_LOG_FAILED' }]])
    warned.mockRestore()
  })

  test('details that JSON cannot have lose their own line alone, and the application nothing', async () => {
    const stream = new Slow()
    const lost: AuditLine[] = []
    log = auditLog({ write: stream, onError: (_, lines) => lost.push(...lines) })
    const first = stream.chunk()
    const circle: Record<string, unknown> = {}
    circle.self = circle
    const [one] = [await withAudit({ actor: 'grace', circle }, () => plain.create(ada())), await plain.create(ada())]
    await first
    stream.take()
    await log.close()
    expect(lost.map(({ id }) => id)).toEqual([one._id])
    expect(stream.lines).toHaveLength(1)
  })

  test('when as many lines wait as may, the next goes to onError, and the application is not held up', async () => {
    const stream = new Slow()
    const codes: unknown[] = []
    log = auditLog({
      write: stream,
      maxWaiting: 2,
      onError: (error: any, lines) => codes.push([error.code, lines.length]),
    })
    for (let index = 0; index < 3; index++) await plain.create(ada())
    expect(codes).toEqual([['AUDIT_LOG_FULL', 1]])
    const flushed = log.flush()
    const second = stream.chunk()
    stream.take()
    await second
    stream.take()
    await flushed
    expect(stream.lines).toHaveLength(2)
  })

  test('holdMs keeps an operation from being answered until its line is written', async () => {
    const stream = new Slow()
    log = auditLog({ write: stream, holdMs: 2 ** 31 - 1 })
    const written = stream.chunk()
    let isAnswered = false
    const created = plain.create(ada()).then(() => {
      isAnswered = true
    })
    await written
    await new Promise(setImmediate)
    expect(isAnswered).toBe(false)
    stream.take()
    await created
  })

  test('and no longer than that', async () => {
    const stream = new Slow()
    log = auditLog({ write: stream, holdMs: 1 })
    await plain.create(ada())
    expect(stream.chunks).toHaveLength(1)
    stream.take()
  })

  test.each([
    [{}, 'write or model'],
    [{ write: () => {}, model: plain }, 'write or model'],
    [{ write: 'file' }, 'write'],
    [{ model: {} }, 'model'],
    [{ write: () => {}, maxWaiting: 0 }, 'maxWaiting'],
    [{ write: () => {}, holdMs: -1 }, 'holdMs'],
    [{ write: () => {}, onError: 'throw' }, 'onError'],
    [{ write: () => {}, file: 'x' }, 'file'],
  ])('refuses %o', (options, named) => {
    expect(() => auditLog(options as never)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', message: expect.stringContaining(named) }),
    )
  })
})
