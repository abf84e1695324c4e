import { channels, type KeyEvent } from 'mongoose-kms-encrypted'

const names = { generate: 'Generate Data Key', unwrap: 'Decrypt Data Key', rewrap: 'Re-encrypt Data Key' }

/**
 * Prints one line for each call to the KMS, when it has ended:
 *
 *     Decrypt Data Key (12.3 ms) Record=User/65f0c0ffee65f0c0ffee65f0
 */
export function logKeyOperations(print: (line: string) => void = console.log): void {
  for (const channel of Object.values(channels)) {
    // `asyncEnd` comes last, also after an error.
    channel.asyncEnd.subscribe((message) => print(describe(message as KeyEvent)))
  }
}

function describe({ operation, durationMs = 0, context, error }: KeyEvent): string {
  const pairs = Object.entries(context).map(([key, value]) => `${key}=${value}`)
  const failure = error instanceof Error ? [`failed: ${'code' in error ? error.code : error.name}`] : []
  return [`${names[operation]} (${durationMs.toFixed(1)} ms)`, ...pairs, ...failure].join(' ')
}
