/*
 * Whatever a report shows was written by whoever called the KMS: user agents, names of sessions, contexts. Here it is made harmless for what
 * is to show it.
 */

// Control characters, and those that turn the direction of writing or break lines.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const invisible = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

/** For a terminal and a page: one line, without what a terminal would obey. */
export function clean(text: string): string {
  return text.replace(invisible, '\ufffd')
}

/** For a spreadsheet, which takes for a formula what begins like one. */
export function csvCell(value: string | number): string {
  if (typeof value === 'number') return String(value)
  const text = clean(value)
  const harmless = /^[=+\-@]/.test(text.trimStart()) ? `'${text}` : text
  return /[",\ufffd']/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}

/** For text and attributes of HTML. */
export function escapeHtml(text: string): string {
  return clean(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

/** JSON that a terminal can show: the same values, since JSON may write any character by its number. */
export function printableJson(value: unknown): string {
  const hex = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify(value, undefined, 2).replace(invisible, (character) =>
    character === '\n' ? character : hex(character),
  )
}
