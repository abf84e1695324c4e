import type { Selection } from './validation'

/** Arguments of `validate()` and `validateSync()` in one form. */
export function selectionOf(paths: unknown, options: unknown): Selection {
  const given = Array.isArray(paths) || typeof paths === 'string' ? paths : undefined
  const settings = (given === undefined ? (options ?? paths) : options) as
    | { pathsToSkip?: string | string[]; validateModifiedOnly?: boolean }
    | null
    | undefined
  return {
    ...(given === undefined ? {} : { paths: listOf(given) }),
    ...(settings?.pathsToSkip ? { pathsToSkip: listOf(settings.pathsToSkip) } : {}),
    validateModifiedOnly: settings?.validateModifiedOnly ?? false,
  }
}

function listOf(paths: string | readonly string[]): string[] {
  return typeof paths === 'string' ? paths.split(' ') : [...paths]
}
