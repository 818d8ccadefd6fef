import { setTimeout as sleep } from 'node:timers/promises'

/** Generous: it only bounds a hang. The machine may be busy with everything else. */
export const PATIENCE_MS = 120_000
const EVERY_MS = 50

/**
 * Asks until there is an answer: the only way that tests wait for another process.
 * @param what names what is waited for, for the error.
 * @param ask undefined means not yet.
 */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined> | T | undefined,
  patienceMs = PATIENCE_MS,
): Promise<T> {
  const end = Date.now() + patienceMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined) return answer
    if (Date.now() > end) throw new Error(`waited ${patienceMs} ms in vain: ${what}`)
    await sleep(EVERY_MS)
  }
}
