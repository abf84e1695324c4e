import { type Counts, callsOf, count, type Kind, kindOf, noCounts, noSpan, type Span } from './counts'
import type { KeyUse } from './event'
import { Groups } from './groups'
import { medianOf } from './median'
import { modelOf, type RecordCounts, Records } from './records'
import type { BulkRow, FrequentRow, NewcomerRow, Part, RefusalRow, UnnamedRow } from './report'

const hourMs = 60 * 60 * 1000
export const maxListed = 1000
const maxGroups = 10_000
/** For each, an hour of a role or an address takes some 200 bytes. */
const maxHours = 100_000

/** Openings of an hour that are none too many, whatever is usual. */
const leastBulk = 100
const bulkRatio = 5
/** With fewer other hours than these nothing is usual. */
const leastHours = 3

const leastFrequent = 20
const frequentRatio = 10

type PrincipalSpan = Span & { readonly principal: string; readonly address: string; readonly agent: string }
type Group = Omit<RefusalRow & UnnamedRow, 'first' | 'last' | 'count' | 'unknown'> & Span & { known: number }
type Seen = { readonly name: string; calls: number; first: number; isOld: boolean }
/** How many data keys a role or user opened in each hour. */
type SeenIdentity = Seen & { readonly opened: Map<number, number> }

const denials = new Set(['AccessDenied', 'AccessDeniedException', 'Client.UnauthorizedOperation'])
const refusals = new Set(['InvalidCiphertextException', 'IncorrectKeyException'])

/** Counts calls in bounded memory, whatever their order, and finds what is unusual among them. */
export class Tally {
  readonly total = noSpan()
  readonly records = new Records()
  readonly #principals = new Groups<PrincipalSpan>(maxGroups)
  readonly #hours = new Groups<Counts & { readonly hour: number }>(maxHours)
  readonly #refusals = new Groups<Group>(maxGroups)
  /** They count only where their key turns out to be one of records. */
  readonly #unnamed = new Groups<Group>(maxGroups)
  readonly #keys = new Groups<true>(maxGroups)
  /** The row that a session had last: nearly always the one that it has again. */
  readonly #latest = new Groups<{ row: PrincipalSpan | undefined }>(maxGroups)
  readonly #identities = new Groups<SeenIdentity>(maxGroups)
  readonly #addresses = new Groups<Seen>(maxHours)
  #hoursOfIdentities = 0
  #hasBefore = false

  /** A call of before the period: who is in it is not new. */
  takeBefore({ principal, address, time }: KeyUse): void {
    this.#hasBefore = true
    const identity = this.#identityOf(principal.identity, time)
    const seen = this.#addresses.of(address, () => unseen(address, time))
    if (identity) identity.isOld = true
    if (seen) seen.isOld = true
  }

  /** @param isKnown whether the application's log has it; `undefined` without such a log */
  take(use: KeyUse, isKnown: boolean | undefined): void {
    const { record, to, principal, address, agent, key, time } = use
    const kind = kindOf(use)
    if (record === undefined) {
      this.#takeGroup(this.#unnamed, use, kind, isKnown)
      return
    }
    const isUnknown = isKnown === false && kind !== 'failed'
    this.#keys.of(key, () => true)
    count(this.total, kind, isUnknown, time)
    for (const name of to === undefined ? [record] : [record, to]) this.records.count(name, kind, isUnknown, time)
    const row = this.#principalOf(principal.session, address, agent)
    if (row) count(row, kind, isUnknown, time)
    const hour = Math.floor(time / hourMs)
    const counts = this.#hours.of(hour, () => ({ hour, ...noCounts() }))
    if (counts) addTo(counts, kind, isUnknown)
    if (kind === 'failed') this.#takeGroup(this.#refusals, use, kind, isKnown)
    const identity = this.#identityOf(principal.identity, time)
    if (identity) {
      see(identity, time)
      if (kind === 'opened' || kind === 'rewrapped') this.#takeOpening(identity.opened, hour)
    }
    const seen = this.#addresses.of(address, () => unseen(address, time))
    if (seen) see(seen, time)
  }

  get left(): number {
    const groups = [
      this.#principals,
      this.#hours,
      this.#refusals,
      this.#unnamed,
      this.#keys,
      this.#identities,
      this.#addresses,
    ]
    return this.records.left + groups.reduce((sum, { left }) => sum + left, 0)
  }

  principals(): Part<PrincipalSpan> {
    return listed(this.#principals.rows().sort((a, b) => callsOf(b) - callsOf(a)))
  }

  hours(): (Counts & { readonly hour: number })[] {
    return this.#hours.rows().sort((a, b) => a.hour - b.hour)
  }

  topRecords(): Part<RecordCounts> {
    return { count: this.records.size, rows: this.records.top(maxListed) }
  }

  /** Those that name no record too, where the key is one of records, or the application knows of them. */
  refusals(): Part<Group> & Record<RefusalRow['kind'], number> {
    const rows = [...this.#refusals.rows(), ...this.#unnamedOfRecords().filter(({ error }) => error !== '')]
    const calls = { denied: 0, refused: 0, failed: 0 }
    for (const row of rows) calls[row.kind] += callsOf(row)
    return { ...calls, ...listed(rows.sort((a, b) => order[a.kind] - order[b.kind] || callsOf(b) - callsOf(a))) }
  }

  unnamed(): Part<Group> {
    const rows = this.#unnamedOfRecords().filter(({ error }) => error === '')
    return listed(rows.sort((a, b) => callsOf(b) - callsOf(a)))
  }

  bulk(): Part<BulkRow> {
    const found: BulkRow[] = []
    for (const { name, opened: hours } of this.#identities.rows()) {
      const times = new Map<number, number>()
      for (const opened of hours.values()) times.set(opened, (times.get(opened) ?? 0) + 1)
      const usual = hours.size > leastHours ? medianOf(times) : undefined
      for (const [hour, opened] of hours) {
        if (opened < Math.max(leastBulk, (usual ?? 0) * bulkRatio)) continue
        found.push({ hour: new Date(hour * hourMs).toISOString(), identity: name, opened, usual })
      }
    }
    return listed(found.sort((a, b) => b.opened - a.opened))
  }

  newcomers(): Part<Omit<NewcomerRow, 'first'> & { readonly first: number }> | undefined {
    if (!this.#hasBefore) return undefined
    const all = { principal: this.#identities, address: this.#addresses }
    const rows = (['principal', 'address'] as const).flatMap((kind) =>
      all[kind]
        .rows()
        .filter(({ isOld, calls }) => !isOld && calls > 0)
        .map(({ name, calls, first }) => ({ kind, name, calls, first })),
    )
    return listed(rows.sort((a, b) => a.first - b.first))
  }

  frequent(): Part<FrequentRow> {
    const medians = this.records.medians()
    const usualOf = (model: string) => medians.get(model) ?? 0
    const least = (model: string) => Math.max(leastFrequent, usualOf(model) * frequentRatio)
    const { count, rows } = this.records.openedAtLeast(least, maxListed)
    return { count, rows: rows.map(({ record, opened }) => ({ record, opened, usual: usualOf(modelOf(record)) })) }
  }

  #unnamedOfRecords(): Group[] {
    return this.#unnamed.rows().filter((row) => this.#keys.has(row.key) || row.known > 0)
  }

  #principalOf(principal: string, address: string, agent: string): PrincipalSpan | undefined {
    const latest = this.#latest.of(principal, () => ({ row: undefined }))
    if (latest?.row?.address === address && latest.row.agent === agent) return latest.row
    const make = () => ({ principal, address, agent, ...noSpan() })
    const row = this.#principals.of([principal, address, agent].join('\n'), make)
    if (latest) latest.row = row
    return row
  }

  #identityOf(name: string, time: number): SeenIdentity | undefined {
    return this.#identities.of(name, () => ({ ...unseen(name, time), opened: new Map() }))
  }

  #takeOpening(opened: Map<number, number>, hour: number): void {
    const before = opened.get(hour)
    if (before === undefined && this.#hoursOfIdentities++ >= maxHours) return
    opened.set(hour, (before ?? 0) + 1)
  }

  #takeGroup(groups: Groups<Group>, use: KeyUse, kind: Kind, isKnown: boolean | undefined): void {
    const { record, operation, principal, address, key, error = '', time } = use
    const row = groups.of([error, operation, record, principal.session, address, key].join('\n'), () => ({
      kind: refusalOf(error),
      error,
      operation,
      record,
      principal: principal.session,
      address,
      key,
      known: 0,
      ...noSpan(),
    }))
    if (!row) return
    count(row, kind, isKnown === false, time)
    if (isKnown) row.known += 1
  }
}

const order: Readonly<Record<RefusalRow['kind'], number>> = { denied: 0, refused: 1, failed: 2 }

function refusalOf(error: string): RefusalRow['kind'] {
  if (denials.has(error)) return 'denied'
  return refusals.has(error) ? 'refused' : 'failed'
}

function unseen(name: string, first: number): Seen {
  return { name, calls: 0, first, isOld: false }
}

function see(seen: Seen, time: number): void {
  seen.calls += 1
  if (time < seen.first) seen.first = time
}

function addTo(counts: Counts, kind: Kind, isUnknown: boolean): void {
  counts[kind] += 1
  if (isUnknown) counts.unknown += 1
}

function listed<Row>(rows: readonly Row[]): Part<Row> {
  return { count: rows.length, rows: rows.slice(0, maxListed) }
}
