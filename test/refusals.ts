import { Schema } from 'mongoose'
import { ConfigurationError, kmsEncrypted, localKms } from '../lib'

/** Builds a schema with these options of the plugin, over ones that are good. */
export function build(options: Record<string, any>, schema: Schema<any> = new Schema<any>({ name: String })): void {
  schema.plugin(kmsEncrypted as any, { provider: localKms(), fields: { email: String }, ...options })
}

/** What an act throws, which must be a `ConfigurationError`. */
export function refusal(act: () => unknown): ConfigurationError {
  try {
    act()
  } catch (error) {
    if (error instanceof ConfigurationError && error.name === 'ConfigurationError') return error
    throw new Error(`Expected a ConfigurationError, got ${error}`, { cause: error })
  }
  throw new Error('Expected a ConfigurationError, and nothing was thrown')
}
