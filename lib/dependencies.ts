import type { Config } from './config'
import type { AnyModel, Doc } from './host'

/** Lets the option functions be seen reading, once, before the first query relies on what they read. */
export function learnDependencies(model: AnyModel, configs: readonly Config[]): void {
  for (const config of configs) {
    if (learned.has(config)) continue
    learned.add(config)
    const blank = new model() as unknown as Doc
    for (const generation of config.generations.values()) {
      for (const option of [generation.contextOf, generation.keyIdOf]) {
        try {
          option(blank)
        } catch {
          // A blank record need not have a context or key; what was read up to there is known now.
        }
      }
    }
  }
}

const learned = new WeakSet<Config>()

/** What must be known of a record to encrypt for it: everything where options depend on paths not yet seen. */
export function projectionOf(configs: readonly Config[]): Record<string, 1> {
  const paths = configs.flatMap((config) => [config.keyPath, ...config.dependencies])
  return Object.fromEntries(['_id', ...paths].map((path) => [path, 1]))
}
