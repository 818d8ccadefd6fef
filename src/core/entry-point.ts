import { createRequire } from 'node:module'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * The file that a thread or a process of its own begins with, whether this program runs from its build or from source.
 * @param module path of the module relative to `from`, without its extension, such as `./merge-worker`
 * @param from the caller's `import.meta.url`
 */
export function entryPoint(module: string, from: string): string {
  const extension = extname(new URL(from).pathname)
  const path = fileURLToPath(new URL(`${module}${extension}`, from))
  if (extension !== '.ts') return path
  const entryOf: (source: string) => string = createRequire(import.meta.url)('./source-entry.cjs')
  return entryOf(path)
}
