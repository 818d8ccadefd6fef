import { z } from 'zod'
import { TapestryError } from '../../core/error.ts'
import { openNodeClient } from '../../participant/client.ts'
import { finishKeyChange } from '../../participant/key-change.ts'
import { runNode } from '../../participant/loop.ts'
import { moveCoordinator, openNodeDirectory } from '../../participant/node-directory.ts'
import { engineTrainer } from '../../participant/trainer.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { defaultNodeDirectory } from '../directories.ts'
import { reportDryRun } from '../dry-run.ts'
import { addresses, runId, wholeNumber } from '../input.ts'
import { NodeEventPrinter } from '../node-event-printer.ts'

export const nodeRun = defineCommand({
  path: 'node run',
  summary: 'take part in rounds: train on your own text, send only weights',
  options: [
    setting('--dir <directory>', 'where the node keeps its keys and rounds'),
    setting('--rounds <n>', 'end after this many rounds (never)'),
    setting('--coordinator <host:port,...>', 'where the coordinator, or its replicas, are now; it is remembered'),
    flag('--dry-run', 'say what would happen to each dataset in each run, and train nothing'),
    flag('--run <run>', 'with --dry-run: only this run, also before its first round'),
  ],
  input: z.object({
    dir: z.string().optional(),
    coordinator: addresses.optional(),
    rounds: wholeNumber(1, 1_000_000).optional(),
    dryRun: z.boolean().default(false),
    run: runId.optional(),
  }),
  notes: 'With --json each event is one line of JSON on stdout. A dry run ends with 1 when something would be refused.',
  async run({ dir, coordinator, rounds, dryRun, run }, { env, clock, output, stopSignal }) {
    if (run !== undefined && !dryRun) throw new TapestryError('INVALID_ARGUMENT', '--run belongs to --dry-run')
    const directory = await openNodeDirectory(dir ?? defaultNodeDirectory(env))
    if (coordinator !== undefined) await moveCoordinator(directory, coordinator)
    await finishKeyChange(directory, clock)
    const client = await openNodeClient(directory, clock)
    if (dryRun) {
      return reportDryRun({ directory, client, clock, run, signal: stopSignal() }, output).finally(() => client.close())
    }
    const printer = new NodeEventPrinter(output, () => clock.now())
    const limit = rounds === undefined ? {} : { rounds }
    try {
      const { because } = await runNode({
        directory,
        client,
        trainer: engineTrainer(),
        clock,
        signal: stopSignal(),
        onEvent: (event) => printer.print(event),
        ...limit,
      })
      if (because === 'left') output.note('this node has left its federation')
    } finally {
      printer.close()
      client.close()
    }
    return undefined
  },
})
