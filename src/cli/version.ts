import { readFileSync } from 'node:fs'
import { z } from 'zod'

/** Two folders up from src/cli and from dist/cli alike. */
const PACKAGE = new URL('../../package.json', import.meta.url)

/** The package's version. */
export function version(): string {
  return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(PACKAGE, 'utf8'))).version
}
