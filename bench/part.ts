import type { Findings } from './report'

/** How much is measured. */
export interface Extent {
  readonly rounds: number
  /** In each round. */
  readonly records: number
  /** In a large collection. */
  readonly documents: number
  /** Where the database server is, for processes of the bench's own. */
  readonly uri: string
}

/** One part of the bench. It finds an empty database that Mongoose is connected to. */
export interface Part {
  readonly title: string
  run(extent: Extent): Promise<Findings>
}
