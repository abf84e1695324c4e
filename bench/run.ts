import { cpus } from 'node:os'
import mongoose from 'mongoose'
import type { Extent } from './part'
import { parts } from './parts'
import { keep, sectionOf } from './report'
import { withDatabase } from './server'

/** Runs parts one after another, prints what they find, and keeps it in a file. */
export async function run(names = Object.keys(parts), extent: Omit<Extent, 'uri'>, file: string): Promise<void> {
  const unknown = names.find((name) => !(name in parts))
  if (unknown !== undefined) throw new Error(`--only: there is no ${unknown}, but ${Object.keys(parts).join(', ')}.`)
  const titles = Object.values(parts).map(({ title }) => title)
  await withDatabase(async ({ kind, uri }) => {
    const on = `Node ${process.version}, Mongoose ${mongoose.version}, MongoDB: ${kind}, ${cpus().length} × ${cpus()[0]?.model}`
    for (const name of names) {
      const { title, run } = parts[name]!
      const findings = await run({ ...extent, uri })
      const when = new Date().toISOString().slice(0, 10)
      const section = sectionOf(
        title,
        `${when}, ${on}; ${extent.rounds} rounds of ${extent.records} records.`,
        findings,
      )
      console.log(`\n${section}`)
      keep(file, title, section, titles)
      await mongoose.connection.dropDatabase()
      mongoose.deleteModel(/./)
    }
  })
}
