import type { Clock } from '../../core/clock.ts'
import { readSafetensors, writeSafetensors } from '../../model/safetensors.ts'
import { openNodeClient } from '../../participant/client.ts'
import { runNode } from '../../participant/loop.ts'
import { openNodeDirectory } from '../../participant/node-directory.ts'
import type { NodeEvent } from '../../participant/node-event.ts'
import { engineTrainer, type Trainer } from '../../participant/trainer.ts'

/** Far enough to undo what all others have learned, had it the weight of an honest contribution. */
const FACTOR = -10

/**
 * A member that wants the model to get worse: it trains as everybody does, tells the truth about that, and hands in ten
 * times the opposite. No command of the product does such a thing; here it runs beside them.
 */
export async function runPoisonedNode(options: {
  readonly directory: string
  readonly rounds: number
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly onEvent: (event: NodeEvent) => void
}): Promise<void> {
  const { clock, rounds, signal, onEvent } = options
  const directory = await openNodeDirectory(options.directory)
  const client = await openNodeClient(directory, clock)
  try {
    await runNode({ directory, client, trainer: poisoned(engineTrainer()), clock, rounds, signal, onEvent })
  } finally {
    client.close()
  }
}

function poisoned(honest: Trainer): Trainer {
  return {
    ...honest,
    async train(task, signal, onProgress) {
      const trained = await honest.train(task, signal, onProgress)
      const tensors = [...(await readSafetensors(task.outDelta))].map(([name, { data, ...tensor }]) => ({
        ...{ ...tensor, name },
        data: Float32Array.from(data, (value) => FACTOR * value),
      }))
      await writeSafetensors(task.outDelta, tensors)
      return trained
    },
  }
}
