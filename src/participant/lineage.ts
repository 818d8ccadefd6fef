import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { fileError } from '../model/whole-file.ts'
import type { NodeContext } from './node-context.ts'
import { readRecord, writeRecord } from './private-file.ts'
import { ResidualMemory } from './residual-memory.ts'
import { forgetOwnWeights } from './round-folder.ts'
import type { RoundView } from './round-view.ts'

const schema = z.strictObject({ uncounted: z.int().min(0) })

/**
 * Forgets what this node remembers from one round of a run to the next (what its updates left out, its own weights)
 * when a revocation has taken rounds back since it last trained: that was trained from what is gone. Comes before
 * training; a crash in between only forgets twice.
 * @throws TapestryError DISK_FULL
 */
export async function forgetTakenBack({ directory }: NodeContext, { key, turn }: RoundView): Promise<void> {
  const folder = join(directory.roundsPath, key.run)
  const path = join(folder, 'lineage.json')
  const uncounted = key.number - turn
  const known = (await readRecord(path, schema).catch(() => undefined))?.uncounted ?? 0
  if (known === uncounted) return
  await new ResidualMemory(directory, key.run).forget()
  await forgetOwnWeights(directory, key.run)
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((cause) => {
    throw fileError(folder, cause)
  })
  await writeRecord(path, { uncounted })
}
