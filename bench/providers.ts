import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type KeyProvider, localKms } from 'mongoose-kms-encrypted'

const keyId = 'arn:aws:kms:eu-central-1:111122223333:key/0f0e0d0c-0b0a-4908-8706-050403020100'
const wrappedLength = 184
const localWrappedLength = 60
const dataKeyLength = 32

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

/** A KMS that takes its time, or none while `latencyMs` is 0. It takes none of the processor's: it leaves what it wraps as it is. */
export class SlowKms {
  readonly provider: KeyProvider
  latencyMs = 0

  constructor(concurrency: number) {
    this.provider = {
      keyId,
      concurrency,
      generateDataKey: async () => {
        await this.#answer()
        const wrapped = randomBytes(dataKeyLength)
        return { plaintext: Buffer.from(wrapped), wrapped, keyId }
      },
      unwrapDataKey: async ({ wrapped }) => {
        await this.#answer()
        return Buffer.from(wrapped)
      },
    }
  }

  async #answer(): Promise<void> {
    if (this.latencyMs > 0) await delay(this.latencyMs)
  }
}

/** `localKms` that counts what it is asked. */
export class CountedKms {
  readonly provider: KeyProvider
  calls = 0

  constructor() {
    const { keyId, generateDataKey, unwrapDataKey } = localKms()
    this.provider = {
      keyId,
      generateDataKey: (request) => {
        this.calls++
        return generateDataKey(request)
      },
      unwrapDataKey: (request) => {
        this.calls++
        return unwrapDataKey(request)
      },
    }
  }
}
