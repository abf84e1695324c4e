import { callsOf } from './counts'
import type { Report } from './report'

/** What a report says, in a few sentences. */
export function summaryOf({ read, total, records, principals, refusals, bulk, join, left, asked }: Report): string[] {
  const { files, events, repeated, problems } = read
  const sentences = [
    `Read ${events} events of ${files} files. ${callsOf(total)} of them are calls for records${periodOf(total)}: ${total.opened} opened a data key, ${total.generated} generated one, ${total.rewrapped} re-wrapped one, ${total.failed} failed.`,
    `Records: ${records.count}. Callers: ${principals.count}. Denied: ${refusals.denied}. Refused for a wrong context or key: ${refusals.refused}. Hours with openings in bulk: ${bulk.count}.`,
  ]
  const filters = Object.entries(asked).filter(([, value]) => value !== undefined)
  if (filters.length > 0)
    sentences.unshift(`Asked for: ${filters.map(([name, value]) => `${name} ${value}`).join(', ')}.`)
  if (repeated > 0) sentences.push(`Events delivered more than once, counted once: ${repeated}.`)
  if (problems.count > 0)
    sentences.push(`NOT READ: ${problems.count} files or lines, such as ${problems.rows[0]!.file}.`)
  if (left > 0)
    sentences.push(`Calls that are in the totals and not in every table, for too many are different: ${left}.`)
  if (join) {
    const { unknown, missing, later, lines, unanswered } = join
    sentences.push(
      unknown.count > 0
        ? `ALARM: the application's log of ${lines} lines has nothing of ${unknown.count} of these calls.`
        : `The application's log of ${lines} lines has all of these calls that succeeded.`,
      `CloudTrail lacks ${missing.count} of its lines${later > 0 ? `; ${later} more are later than all events` : ''}${unanswered > 0 ? `; ${unanswered} have no request id, for no answer came` : ''}.`,
    )
  }
  return sentences
}

function periodOf({ first, last }: Report['total']): string {
  return first === undefined ? '' : ` from ${first.slice(0, 16)} to ${last?.slice(0, 16)} UTC`
}
