import { z } from 'zod'
import { openNodeClient } from '../../participant/client.ts'
import { runNode } from '../../participant/loop.ts'
import { openNodeDirectory } from '../../participant/node-directory.ts'
import { engineTrainer } from '../../participant/trainer.ts'
import { defineCommand, setting } from '../command.ts'
import { defaultNodeDirectory } from '../directories.ts'
import { wholeNumber } from '../input.ts'
import { NodeEventPrinter } from '../node-event-printer.ts'

export const nodeRun = defineCommand({
  path: 'node run',
  summary: 'take part in rounds: train on your own text, send only weights',
  options: [
    setting('--dir <directory>', 'where the node keeps its keys and rounds'),
    setting('--rounds <n>', 'end after this many rounds (never)'),
  ],
  input: z.object({ dir: z.string().optional(), rounds: wholeNumber(1, 1_000_000).optional() }),
  notes: 'With --json each event is one line of JSON on stdout.',
  async run({ dir, rounds }, { env, clock, output, stopSignal }) {
    const directory = await openNodeDirectory(dir ?? defaultNodeDirectory(env))
    const client = await openNodeClient(directory, clock)
    const printer = new NodeEventPrinter(output, () => clock.now())
    const limit = rounds === undefined ? {} : { rounds }
    try {
      await runNode({
        directory,
        client,
        trainer: engineTrainer(),
        clock,
        signal: stopSignal(),
        onEvent: (event) => printer.print(event),
        ...limit,
      })
    } finally {
      printer.close()
      client.close()
    }
    return undefined
  },
})
