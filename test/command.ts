import { createProgram } from '../src/cli/program.ts'
import type { TestNetwork } from './network.ts'

/** Runs commands of the product in this process; a failure is its error. @returns what it wrote to stdout. */
export function commandsOf(network: TestNetwork): (...words: string[]) => Promise<string> {
  return async (...words) => {
    let text = ''
    const stdout = { write: (more: string) => (text += more) }
    const stderr = { write: () => true }
    const env = { HOME: network.root }
    const io = { stdout, stderr, env, clock: network.clock, stopSignal: () => AbortSignal.timeout(60_000) }
    await (await createProgram(words, io)).parseAsync(words, { from: 'user' })
    return text
  }
}
