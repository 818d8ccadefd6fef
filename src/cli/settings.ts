import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { z } from 'zod'
import { TapestryError } from '../core/error.ts'
import { isFileSystemError, readNamedFile } from './named-file.ts'

const SETTINGS = z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.array(z.string())]))

/** Options' defaults from the user's file: keys are long option names, such as `local-steps` or `dir`. */
export type Settings = z.infer<typeof SETTINGS>

/**
 * Reads a YAML (or JSON) file of settings; a file that is not there has none.
 * @throws TapestryError INVALID_ARGUMENT when it is not a flat map of option names to values.
 */
export function readSettings(path: string): Settings {
  const text = readIfPresent(path)
  if (text === undefined) return {}
  const parsed = SETTINGS.safeParse(parseYaml(path, text) ?? {})
  if (parsed.success) return parsed.data
  throw new TapestryError('INVALID_ARGUMENT', `${path} is not a map of option names to values`, {
    cause: parsed.error,
  })
}

/** Reads a file of settings that the user named. @throws TapestryError NOT_FOUND; INVALID_ARGUMENT when it is not a map. */
export async function readSettingsFile(path: string): Promise<Record<string, unknown>> {
  const parsed = z.record(z.string(), z.unknown()).safeParse(parseYaml(path, await readNamedFile(path)) ?? {})
  if (parsed.success) return parsed.data
  throw new TapestryError('INVALID_ARGUMENT', `${path} is not a map of settings`, { cause: parsed.error })
}

/** Reads a YAML (or JSON) document. @throws TapestryError INVALID_ARGUMENT when it is not one. */
function parseYaml(path: string, text: string): unknown {
  try {
    return parse(text)
  } catch (cause) {
    throw new TapestryError('INVALID_ARGUMENT', `${path} is not YAML`, { cause })
  }
}

function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    if (isFileSystemError(cause, 'ENOENT')) return undefined
    throw new TapestryError('INVALID_ARGUMENT', `cannot read ${path}`, { cause })
  }
}
