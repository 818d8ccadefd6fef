import { resolve } from 'node:path'

/** Where `tapestry pull` puts a checkpoint that is not told another place. */
export function pullDirectory(ref: string): string {
  return resolve(ref.replace(/[^\w.@-]+/g, '-'))
}
