import type { Deadline } from './calls'
import type { OnRequestId } from './provider'
import type { KeyEvent } from './tracing'

/** What a provider is asked, and how it is called. */
export type Asked<R> = R & {
  readonly signal: AbortSignal
  readonly onRequestId: OnRequestId
}

/** Not a private field: a provider may ask a `Proxy` of its request, or what inherits from it. */
const deadlineOf = Symbol('deadline')

/**
 * A request as a provider gets it. The signal is made when the provider asks for it, and is a property of the request's own, so that a provider
 * may pass on `{ ...request }`. The getter is the same for all: with one of its own, each request would be an object of another shape.
 */
class Request {
  static readonly #signal: PropertyDescriptor = {
    enumerable: true,
    get(this: Request) {
      return this[deadlineOf].signal
    },
  }
  readonly [deadlineOf]: Deadline
  readonly onRequestId: OnRequestId

  constructor(request: object, deadline: Deadline, event: KeyEvent) {
    Object.assign(this, request)
    this[deadlineOf] = deadline
    this.onRequestId = (requestId) => {
      event.requestId = requestId
    }
    Object.defineProperty(this, 'signal', Request.#signal)
  }
}

export function withHow<R extends object>(request: R, deadline: Deadline, event: KeyEvent): Asked<R> {
  return new Request(request, deadline, event) as unknown as Asked<R>
}
