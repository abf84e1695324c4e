import { type KeyProvider, localKms } from 'mongoose-kms-encrypted'

const keyId = 'arn:aws:kms:eu-central-1:111122223333:key/0f0e0d0c-0b0a-4908-8706-050403020100'
const wrappedLength = 184

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

const localWrappedLength = 60
