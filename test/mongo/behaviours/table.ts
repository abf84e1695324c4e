export type Doc = { [field: string]: unknown }

/**
 * One documented behaviour of MongoDB: what a command answers to documents, and what it leaves. Names of the
 * collection (`things`) are part of the command.
 */
export type Behaviour = {
  name: string
  before?: Doc[]
  /** Indexes that exist before, as in `createIndexes`. */
  indexes?: Doc[]
  command: Doc
  /** Fields of the answer, or (with `code`) of the error. */
  answer?: Doc
  /** The types of the answer's numbers are documented too, and compared. */
  exact?: boolean
  /** The error the whole command fails with. */
  code?: number
  /** The documents afterwards, in the order of their `_id`; unchanged if left out. */
  after?: Doc[]
}

/** A filter and the `_id`s it finds. */
export function finds(name: string, before: Doc[], filter: Doc, ids: unknown[]): Behaviour {
  return {
    name: `find: ${name}`,
    before,
    command: { find: 'things', filter, projection: { _id: 1 }, sort: { _id: 1 } },
    answer: { cursor: { firstBatch: ids.map((_id) => ({ _id })) } },
  }
}

/** A filter that is refused. */
export function refusesFilter(name: string, filter: Doc, code: number): Behaviour {
  return { name: `find refused: ${name}`, before: [{ _id: 1 }], command: { find: 'things', filter }, code }
}

/** An update of the document with `_id` 1, and what that document then is. */
export function updates(name: string, before: Doc, u: unknown, after: Doc, more: Doc = {}): Behaviour {
  const { q = { _id: 1 }, ...options } = more
  const nModified = JSON.stringify(before) === JSON.stringify(after) ? 0 : 1
  return {
    name: `update: ${name}`,
    before: [{ _id: 1, ...before }],
    command: { update: 'things', updates: [{ q, u, ...options }] },
    answer: { n: 1, nModified },
    after: [{ _id: 1, ...after }],
  }
}

/** An update that is reported as a write error and changes nothing. */
export function refusesUpdate(name: string, before: Doc, u: unknown, code: number, more: Doc = {}): Behaviour {
  const { q = { _id: 1 }, ...options } = more
  return {
    name: `update refused: ${name}`,
    before: [{ _id: 1, ...before }],
    command: { update: 'things', updates: [{ q, u, ...options }] },
    answer: { n: 0, writeErrors: [{ index: 0, code }] },
  }
}

/** An upsert into an empty collection, and the document it makes. */
export function upserts(name: string, q: Doc, u: unknown, after: Doc): Behaviour {
  return {
    name: `upsert: ${name}`,
    command: { update: 'things', updates: [{ q, u, upsert: true }] },
    answer: { n: 1, nModified: 0, upserted: [{ index: 0, _id: after._id }] },
    after: [after],
  }
}

/** An aggregation and its results. */
export function aggregates(name: string, before: Doc[], pipeline: Doc[], results: Doc[]): Behaviour {
  return {
    name: `aggregate: ${name}`,
    before,
    command: { aggregate: 'things', pipeline, cursor: {} },
    answer: { cursor: { firstBatch: results } },
    exact: true,
  }
}

/** A pipeline that is refused. */
export function refusesAggregation(name: string, before: Doc[], pipeline: Doc[], code: number): Behaviour {
  return { name: `aggregate refused: ${name}`, before, command: { aggregate: 'things', pipeline, cursor: {} }, code }
}

/** An expression on a document, and its value; `undefined` when it has none. */
export function computes(name: string, before: Doc, expression: unknown, value: unknown): Behaviour {
  const result = value === undefined ? {} : { value }
  const [doc, pipeline] = [{ _id: 1, ...before }, [{ $project: { _id: 0, value: expression } }]]
  return { ...aggregates('', [doc], pipeline, [result]), name: `expression: ${name}` }
}

/** An expression that is refused, at the latest when it is evaluated. */
export function refusesExpression(name: string, before: Doc, expression: unknown, code: number): Behaviour {
  const pipeline = [{ $project: { value: expression } }]
  return { ...refusesAggregation('', [{ _id: 1, ...before }], pipeline, code), name: `expression refused: ${name}` }
}

/** An upsert into an empty collection that is reported as a write error. */
export function refusesUpsert(name: string, q: Doc, u: unknown, code: number): Behaviour {
  return {
    name: `upsert refused: ${name}`,
    command: { update: 'things', updates: [{ q, u, upsert: true }] },
    answer: { n: 0, writeErrors: [{ index: 0, code }] },
  }
}

/** A projection of one document by `find`. */
export function projects(name: string, before: Doc, projection: Doc, result: Doc): Behaviour {
  return {
    name: `projection: ${name}`,
    before: [before],
    command: { find: 'things', filter: {}, projection },
    answer: { cursor: { firstBatch: [result] } },
  }
}
