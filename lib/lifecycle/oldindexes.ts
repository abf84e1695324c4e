import type { AnyModel, Plain } from '../mongoose/host'

/** Indexes of MongoDB's that were of values before they were encrypted: of envelopes they are of no use. */

/** The names of the indexes of a collection that are of these paths, or of something in them. */
export async function indexesOn(model: AnyModel, paths: readonly string[]): Promise<string[]> {
  const isOf = (path: string) => paths.some((each) => path === each || path.startsWith(`${each}.`))
  return (await indexesOf(model))
    .filter(({ key, weights }) => [...Object.keys(key), ...Object.keys(weights ?? {})].some(isOf))
    .map(({ name }) => name)
}

async function indexesOf(model: AnyModel): Promise<Plain[]> {
  try {
    return await model.collection.indexes()
  } catch (error) {
    // There is no collection.
    if ((error as { code?: unknown }).code === 26) return []
    throw error
  }
}

export async function dropIndexes(model: AnyModel, names: readonly string[]): Promise<void> {
  for (const name of names) await model.collection.dropIndex(name)
}
