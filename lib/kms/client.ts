import type { KMSClient } from '@aws-sdk/client-kms'

type Sdk = typeof import('@aws-sdk/client-kms')

/** A client, what sends by it, and the SDK that it is of. */
export interface Connection {
  readonly client: KMSClient
  readonly send: Send
  readonly sdk: Sdk
}

/**
 * The AWS SDK takes longer to load than all else here, and tests and scripts may never reach a KMS: it is loaded by the first call. By
 * `require`, for the Jest of a CommonJS application cannot load by `import()`.
 */
function loadSdk(): Sdk {
  return require('@aws-sdk/client-kms')
}

/** What a client does with a command. */
export type Send = <T>(command: { readonly input: object }, signal: AbortSignal | undefined) => Promise<T>

/** Connects by a client of the application's, which stays as it is. */
export function connectBy(client: KMSClient): Connection {
  const send: Send = (command, signal) => client.send(command as never, { abortSignal: signal }) as Promise<never>
  return { client, send, sdk: loadSdk() }
}

/** How a command and its request are passed through the SDK. */
interface Arguments {
  readonly input: object
  readonly request: unknown
}

/**
 * Connects by a client that finds region and credentials as the SDK does. The SDK puts its middleware together once
 * (`cacheMiddleware`), but for calls that are given options, for which it does so each time and takes a quarter longer: so the signal of a
 * call is not an option of it, and is given to the request when that is sent.
 */
export function connect(timeoutMs: number, concurrency: number): Connection {
  const sdk = loadSdk()
  const agent = { keepAlive: true, maxSockets: concurrency }
  const client = new sdk.KMSClient({
    cacheMiddleware: true,
    requestHandler: { ...limits(timeoutMs), httpAgent: agent, httpsAgent: agent },
  })
  const ofCommands = new WeakMap<object, AbortSignal>()
  const ofRequests = new WeakMap<object, AbortSignal>()
  const passOn = (next: (args: never) => Promise<never>) => (args: Arguments) => {
    const signal = ofCommands.get(args.input)
    if (signal) ofRequests.set(args.request as object, signal)
    return next(args as never)
  }
  client.middlewareStack.add(passOn as never, { step: 'deserialize', name: 'passOnSignal' })
  const { requestHandler, signer } = client.config
  client.config.signer = signerOf(signer)
  client.config.requestHandler = Object.create(requestHandler, {
    handle: {
      value: (request: object, options?: object) =>
        requestHandler.handle(request as never, { ...options, abortSignal: ofRequests.get(request) }),
    },
  })
  const send: Send = (command, signal) => {
    if (signal) ofCommands.set(command.input, signal)
    return client.send(command as never) as Promise<never>
  }
  return { client, send, sdk }
}

type MakeSigner = KMSClient['config']['signer']

/** The SDK makes a signer for each call, though it asks for the credentials anew each time it signs, and the region of a client is one. */
function signerOf(make: MakeSigner): MakeSigner {
  let made: Awaited<ReturnType<MakeSigner>> | undefined
  return async (scheme) => {
    if (scheme) return make(scheme)
    made ??= await make()
    return made
  }
}

/**
 * What a connection and one try may take, so that the SDK makes another one in time. Without `throwOnRequestTimeout` it would only
 * warn of a try that is not answered.
 */
function limits(timeoutMs: number) {
  return {
    connectionTimeout: Math.ceil(timeoutMs * 0.2),
    requestTimeout: Math.ceil(timeoutMs * 0.4),
    throwOnRequestTimeout: true,
  }
}
