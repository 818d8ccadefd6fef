import { TapestryError } from '../core/error.ts'
import { ensureRunId, type RunId } from '../core/ids.ts'
import type { Reader } from '../store/reader.ts'

/**
 * What a list is confined to: one run, or nothing for empty text.
 * @throws TapestryError NOT_FOUND for a run that does not exist: an empty list would look like one in which nothing happened.
 */
export async function runFilter(reader: Pick<Reader, 'run'>, text: string): Promise<{ readonly run?: RunId }> {
  if (text === '') return {}
  const run = ensureRunId(text)
  if ((await reader.run(run)) !== undefined) return { run }
  throw new TapestryError('NOT_FOUND', `there is no run ${run}`)
}
