import { setTimeout as delay } from 'node:timers/promises'
import { type KeyProvider, localKms } from 'mongoose-kms-encrypted'

const keyId = 'arn:aws:kms:eu-central-1:111122223333:key/0f0e0d0c-0b0a-4908-8706-050403020100'
const wrappedLength = 184
const localWrappedLength = 60

/** `localKms` with key ids and wrapped keys as long as those of AWS KMS, so that stored sizes are those of production. */
export function sizedLikeAws(): KeyProvider {
  const local = localKms()
  return {
    keyId,
    async generateDataKey({ context }) {
      const { plaintext, wrapped } = await local.generateDataKey({ keyId: local.keyId, context })
      return { plaintext, wrapped: Buffer.concat([wrapped], wrappedLength), keyId }
    },
    unwrapDataKey: ({ wrapped, context }) =>
      local.unwrapDataKey({ wrapped: wrapped.subarray(0, localWrappedLength), keyId: local.keyId, context }),
  }
}

/** The same in all processes of the bench. */
const secret = Buffer.alloc(32, 'bench')

/** `localKms` with something done before each call. */
function localAfter(concurrency: number, before: () => Promise<void>): KeyProvider {
  const local = localKms({ secret })
  return {
    keyId: local.keyId,
    concurrency,
    async generateDataKey(request) {
      await before()
      return local.generateDataKey(request)
    },
    async unwrapDataKey(request) {
      await before()
      return local.unwrapDataKey(request)
    },
  }
}

/** A KMS that takes its time, or none while `latencyMs` is 0. */
export class SlowKms {
  readonly provider: KeyProvider
  latencyMs = 0

  constructor(concurrency: number) {
    this.provider = localAfter(concurrency, async () => {
      if (this.latencyMs > 0) await delay(this.latencyMs)
    })
  }
}

/** A KMS that counts what it is asked. */
export class CountedKms {
  readonly provider: KeyProvider
  calls = 0

  constructor() {
    this.provider = localAfter(32, async () => {
      this.calls++
    })
  }
}
