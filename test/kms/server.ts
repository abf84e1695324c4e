import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { type Call, loggedParameters } from './calls'
import { KmsError } from './errors'
import { BareStatus, type Faults } from './faults'
import type { Access } from './filter'
import type { Keys } from './keys'
import { operations } from './operations'
import { type EncryptionContext, parseBody } from './params'
import type { Policy } from './policy'

const CONTENT_TYPE = 'application/x-amz-json-1.1'
const TARGET = /^TrentService\.(\w+)$/
/** Signature Version 4: the form is checked, the signature is not. */
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/\s]+)\/\d{8}\/([^/]+)\/kms\/aws4_request, ?SignedHeaders=[\w;-]+, ?Signature=[0-9a-f]{64}$/

/** `body` is absent for a bare status. */
interface Reply {
  readonly status: number
  readonly body?: unknown
}

/** Speaks the AWS JSON 1.1 protocol: one HTTP exchange, from request line to answer. */
export class KmsServer {
  readonly calls: Call[] = []
  readonly #keys: Keys
  readonly #policy: Policy
  readonly #faults: Faults
  #inProgress = 0
  #maxConcurrent = 0

  constructor(keys: Keys, policy: Policy, faults: Faults) {
    this.#keys = keys
    this.#policy = policy
    this.#faults = faults
  }

  get maxConcurrent(): number {
    return this.#maxConcurrent
  }

  resetMaxConcurrent(): void {
    this.#maxConcurrent = this.#inProgress
  }

  /** Resolves to the server, listening on a free port of 127.0.0.1. */
  listen(): Promise<Server> {
    const server = createServer((request, response) => void this.#serve(request, response))
    // Closing an idle connection could meet a request on its way, which the SDK would then count as a second attempt.
    server.keepAliveTimeout = 0
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', () => resolve(server))
    })
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#inProgress += 1
    this.#maxConcurrent = Math.max(this.#maxConcurrent, this.#inProgress)
    const requestId = randomUUID()
    const reply = await this.#exchange(request, requestId)
    // Before the answer leaves: a client that sends its next request right after it never counts as two.
    this.#inProgress -= 1
    if (!reply) {
      request.socket.destroy()
      return
    }
    response.writeHead(reply.status, { 'content-type': CONTENT_TYPE, 'x-amzn-requestid': requestId })
    response.end(reply.body === undefined ? undefined : JSON.stringify(reply.body))
  }

  /** @returns `undefined` to hang up without an answer. */
  async #exchange(request: IncomingMessage, requestId: string): Promise<Reply | undefined> {
    let call: Call | undefined
    try {
      const { operation, ...origin } = parseHeaders(request)
      const body = parseBody(await text(request))
      call = {
        eventTime: new Date().toISOString(),
        eventName: operation,
        requestId,
        ...origin,
        requestParameters: loggedParameters(body),
      }
      const faults = this.#faults.claim(accessOf(call))
      const lost = faults.find(({ drop }) => drop !== undefined)?.drop
      if (lost !== 'before') this.calls.push(call)
      for (const fault of faults) await fault.apply()
      if (lost === 'before') return undefined
      const run = operations.get(operation)
      if (!run) throw new KmsError('UnknownOperationException', `Unknown operation ${operation}`)
      const result = run(body, { keys: this.#keys, policy: this.#policy, call })
      return lost === 'after' ? undefined : { status: 200, body: result }
    } catch (error) {
      if (error instanceof BareStatus) {
        if (call) call.errorCode = `HTTP ${error.status}`
        return { status: error.status }
      }
      const { type, message, status } = error instanceof KmsError ? error : ownFault(error)
      if (call) Object.assign(call, { errorCode: type, errorMessage: message })
      return { status, body: { __type: type, message } }
    }
  }
}

function parseHeaders({ method, url, headers }: IncomingMessage) {
  const operation = TARGET.exec(String(headers['x-amz-target']))?.[1]
  if (method !== 'POST' || url !== '/' || headers['content-type'] !== CONTENT_TYPE || !operation) {
    throw new KmsError('UnknownOperationException', `Expected POST / of ${CONTENT_TYPE} to TrentService.<Operation>`)
  }
  if (headers.authorization === undefined) {
    throw new KmsError('MissingAuthenticationTokenException', 'Missing Authentication Token')
  }
  const [, principal, awsRegion] = AUTHORIZATION.exec(headers.authorization) ?? []
  if (principal === undefined || awsRegion === undefined) {
    throw new KmsError('IncompleteSignatureException', 'Authorization header is not a Signature Version 4 for kms')
  }
  const attempt = /attempt=(\d+)/.exec(String(headers['amz-sdk-request']))?.[1]
  const userAgent = headers['user-agent'] ?? ''
  return { operation, principal, awsRegion, userAgent, ...(attempt !== undefined && { attempt: Number(attempt) }) }
}

/** What faults can look at: the parameters as sent, since they strike before anything is validated. */
function accessOf({ eventName, principal, requestParameters: sent }: Call): Access {
  const context = sent.encryptionContext ?? sent.sourceEncryptionContext ?? {}
  return { operation: eventName, keyId: undefined, context: context as EncryptionContext, principal }
}

/** A defect of the stand-in itself must show in the failing test, not look like a refusal. */
function ownFault(error: unknown): KmsError {
  return new KmsError('KMSInternalException', `The stand-in failed: ${error instanceof Error ? error.stack : error}`)
}
