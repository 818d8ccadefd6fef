import type { PublicLog } from '../store/public-log.ts'

/** The newest checkpoint of the log. */
export async function getLogCheckpoint(log: PublicLog) {
  return { checkpoint: (await log.checkpoint()).note }
}
