import type { Counts } from './counts'
import type { Problem } from './problems'

/** A list that may be longer than what is listed of it. */
export interface Part<Row> {
  readonly count: number
  readonly rows: readonly Row[]
}

/** Times in ISO 8601. */
export type SpanRow = Counts & { readonly first: string; readonly last: string }

export type RecordRow = SpanRow & { readonly record: string }

export type PrincipalRow = SpanRow & { readonly principal: string; readonly address: string; readonly agent: string }

/** An hour begins at its time. */
export type HourRow = Counts & { readonly hour: string }

/** One call, as CloudTrail has it, and what the application says of it. */
export interface CallRow {
  readonly time: string
  readonly operation: string
  readonly record: string | undefined
  /** Another record that the data key was re-wrapped for. */
  readonly to: string | undefined
  readonly principal: string
  readonly address: string
  readonly agent: string
  readonly key: string
  readonly requestId: string | undefined
  readonly error: string | undefined
  readonly known: boolean | undefined
  readonly actor: string | undefined
  readonly reason: string | undefined
  readonly fields: string | undefined
}

/** Calls that are alike, and had no data key as their answer. */
export interface RefusalRow {
  /** `denied`: not allowed; `refused`: a wrong context, another key or damaged bytes; `failed`: anything else. */
  readonly kind: 'denied' | 'refused' | 'failed'
  readonly error: string
  readonly operation: string
  readonly record: string | undefined
  readonly principal: string
  readonly address: string
  readonly count: number
  /** How many of them the application's log has no line of. */
  readonly unknown: number
  readonly first: string
  readonly last: string
}

/** Calls that are alike, and name no record, by a key that records have. */
export interface UnnamedRow {
  readonly key: string
  readonly operation: string
  readonly principal: string
  readonly address: string
  readonly count: number
  readonly first: string
  readonly last: string
}

/** An hour in which a role or user opened many more records than usual. */
export interface BulkRow {
  readonly hour: string
  readonly identity: string
  readonly opened: number
  /** The median of its other hours, where there are enough of them. */
  readonly usual: number | undefined
}

/** A role, user or address that is not in the events before the period. */
export interface NewcomerRow {
  readonly kind: 'principal' | 'address'
  readonly name: string
  readonly calls: number
  readonly first: string
}

/** A record opened far more often than others of its model. */
export interface FrequentRow {
  readonly record: string
  readonly opened: number
  /** The median of its model. */
  readonly usual: number
}

/** A line of the application's log that CloudTrail has no event of. */
export interface MissingRow {
  readonly time: string
  readonly operation: string
  readonly record: string | undefined
  readonly requestId: string | undefined
  readonly actor: string | undefined
  readonly reason: string | undefined
}

export interface Join {
  /** Lines of the application's log, and those of them without a request id, for no answer came. */
  readonly lines: number
  readonly unanswered: number
  /** Successful calls that the application knows nothing of: somebody else used the key. */
  readonly unknown: Part<CallRow>
  readonly missing: Part<MissingRow>
  /** Lines that are later than all events, which may not have been delivered yet. */
  readonly later: number
}

/** What CloudTrail tells of the records. */
export interface Report {
  readonly asked: {
    readonly record?: string
    readonly model?: string
    readonly principal?: string
    readonly since?: string
    readonly until?: string
  }
  readonly read: {
    readonly files: number
    /** Events in these files, and how many of them were calls about records in the period, each counted once. */
    readonly events: number
    readonly counted: number
    /** Events that were delivered more than once. */
    readonly repeated: number
    readonly problems: Part<Problem>
  }
  /** All that was counted; from the first event to the last. */
  readonly total: Partial<SpanRow> & Counts
  readonly records: Part<RecordRow>
  readonly principals: Part<PrincipalRow>
  readonly hours: readonly HourRow[]
  readonly refusals: Part<RefusalRow> & Readonly<Record<RefusalRow['kind'], number>>
  readonly unnamed: Part<UnnamedRow>
  readonly bulk: Part<BulkRow>
  /** Missing where there are no events before the period to compare with. */
  readonly newcomers?: Part<NewcomerRow>
  readonly frequent: Part<FrequentRow>
  /** Where the application's log was given. */
  readonly join?: Join
  /** Each call, where one record is asked for. */
  readonly calls?: Part<CallRow>
  /** Calls that are counted in the total, but had no room in a list of their own: there were too many different ones. */
  readonly left: number
}
