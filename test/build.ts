import { existsSync, readdirSync, statSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'

const root = resolve(__dirname, '..')

/** The types that the package has, as `npm run build` makes them. */
export const declarations: string = join(root, 'dist/index.d.ts')

/** Ends the program where dist/, which it is about, is not made of lib/ as it is. */
export function requireFreshBuild(): void {
  const newest = Math.max(...sources(join(root, 'lib')).map((file) => statSync(file).mtimeMs))
  if (existsSync(declarations) && statSync(declarations).mtimeMs >= newest) return
  console.error(`${relative(root, declarations)} is missing or older than lib/. Run: npm run build`)
  process.exit(1)
}

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? sources(join(folder, entry.name)) : [join(folder, entry.name)],
  )
}
