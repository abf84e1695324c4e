/*
 * Whatever a report shows was written by whoever called the KMS: user agents, names of sessions, contexts. And the `_id` of a record may be
 * whatever a user chose. Here it is made harmless for what is to show it.
 */

/** Control characters, those that turn the direction of writing or break lines, and those of which nothing is seen, so that two names look alike. */
const invisible = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu

/** For a terminal and a page: one line, without what a terminal would obey. */
export function clean(text: string): string {
  return text.replace(invisible, '\ufffd')
}

/** The same for text of several lines. */
export function cleanLines(text: string): string {
  return text.split('\n').map(clean).join('\n')
}

/** For a spreadsheet, which takes for a formula what begins like one. */
export function csvCell(value: string | number): string {
  if (typeof value === 'number') return String(value)
  const text = clean(value)
  const harmless = /^[=+\-@＝＋－＠]/.test(text.trimStart()) ? `'${text}` : text
  return /[",\ufffd']/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}

/** For text and attributes of HTML. */
export function escapeHtml(text: string): string {
  return clean(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

/** JSON that a terminal can show: the same values, since JSON may write any character by its number. */
export function printableJson(value: unknown): string {
  return printable(JSON.stringify(value, undefined, 2))
}

/** The same of what is JSON by now. */
export function printable(json: string): string {
  const hex = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  return json.replace(invisible, (character) =>
    character === '\n' ? character : character.split('').map(hex).join(''),
  )
}
