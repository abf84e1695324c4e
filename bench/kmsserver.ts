import { startKms } from '../test/kms'

/** The KMS of the tests as a process: tells where it is and its key, and ends with who started it. */
async function main(): Promise<void> {
  const kms = await startKms()
  process.once('disconnect', () => void kms.stop())
  // It keeps a log of all calls.
  setInterval(() => kms.clearCalls(), 1000).unref()
  process.send!({ endpoint: kms.endpoint, keyId: kms.createKey().arn })
}

void main()
