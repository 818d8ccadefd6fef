import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What benchmarks write, apart from their results: ignored by git, on the same disk as the project. */
export const WORK_DIR = fileURLToPath(new URL('../.tapestry/bench', import.meta.url))

/** Runs `use` with a directory of its own, which is then removed. */
export async function withWorkspace<T>(name: string, use: (directory: string) => Promise<T>): Promise<T> {
  mkdirSync(WORK_DIR, { recursive: true })
  const directory = mkdtempSync(join(WORK_DIR, `${name}-`))
  try {
    return await use(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
