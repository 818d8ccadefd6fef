import { systemClock } from '../core/clock.ts'
import { exitCodeOfSignal } from './exit-code.ts'
import { failureOf, renderFailure } from './failure.ts'
import { createProgram } from './program.ts'
import { stopSignal } from './signals.ts'

const stop = stopSignal(process, (signal) => process.exit(exitCodeOfSignal(signal)))

/** `tapestry ... | head` closes the pipe early: there is nobody left to tell. */
process.stdout.on('error', () => process.exit(1))

process.exitCode = await run()

async function run(): Promise<number> {
  const { argv, env, stdout, stderr } = process
  try {
    const surroundings = { stdout, stderr, env, clock: systemClock, stopSignal: stop.take }
    const program = await createProgram(argv.slice(2), surroundings)
    await program.parseAsync(argv)
    return signalled() ?? 0
  } catch (thrown) {
    const failure = failureOf(thrown)
    if (signalled() === undefined && failure.exitCode !== 0)
      stderr.write(renderFailure(failure, argv.includes('--json')))
    return signalled() ?? failure.exitCode
  }
}

function signalled(): number | undefined {
  const heard = stop.heard()
  return heard && exitCodeOfSignal(heard)
}
