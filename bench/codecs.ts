import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { shortNumber } from './plot.ts'

/** One federation of the demonstration, its updates travelling by one codec. */
export type CodecFigure = {
  /** As `--codec` takes it. */
  readonly codec: string
  readonly nodes: number
  readonly rounds: number
  /** Bytes of an update on the wire, the mean over all of them. */
  readonly updateBytes: number
  /** Held-out loss of the model that stands after the last round, nats per token, by language. */
  readonly losses: Readonly<Record<string, number>>
}

/** The first is what the others are compared with. */
const CODECS = ['f32', 'bf16', 'int8:block=256', 'topk:fraction=0.1', 'topk:fraction=0.01']
const BIN = fileURLToPath(new URL('../bin/tapestry', import.meta.url))

const reportSchema = z.looseObject({
  rounds: z.array(
    z.looseObject({
      status: z.string(),
      contributions: z.array(z.looseObject({ status: z.string(), bytes: z.number() })),
      languages: z.record(z.string(), z.looseObject({ base: z.number(), candidate: z.number() })),
    }),
  ),
})

/**
 * Runs the demonstration once for each codec: the same text and plan. The nodes are new each time, and with their ids the
 * order of their batches, so small differences of losses are noise.
 */
export async function measureCodecs(
  { quick }: { readonly quick: boolean },
  keep: (figure: CodecFigure) => void,
): Promise<void> {
  const [nodes, rounds] = quick ? [2, 1] : [4, 4]
  for (const codec of quick ? CODECS.slice(0, 3) : CODECS) {
    const args = ['demo', '--json', '--codec', codec, '--nodes', String(nodes), '--rounds', String(rounds)]
    const report = reportSchema.parse(JSON.parse(await outputOf(quick ? [...args, '--languages', 'sw,fr'] : args)))
    const accepted = report.rounds.flatMap(({ contributions }) =>
      contributions.filter(({ status }) => status === 'accepted'),
    )
    const last = report.rounds.at(-1)
    const losses = Object.entries(last?.languages ?? {}).map(([language, { base, candidate }]) => {
      return [language, last?.status === 'published' ? candidate : base]
    })
    keep({
      codec,
      nodes,
      rounds,
      updateBytes: accepted.reduce((sum, { bytes }) => sum + bytes, 0) / accepted.length,
      losses: Object.fromEntries(losses),
    })
  }
}

/** The last line that a command writes: a demonstration whose model learned nothing fails, and reports all the same. */
function outputOf(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [BIN, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    const parts: Buffer[] = []
    child.stdout.on('data', (bytes: Buffer) => parts.push(bytes))
    child.once('error', reject)
    child.once('close', (code) => {
      const line = Buffer.concat(parts).toString('utf8').trim().split('\n').at(-1) ?? ''
      if (line === '') reject(new Error(`tapestry ${args.join(' ')} ended with ${code}`))
      else resolve(line)
    })
  })
}

/** The mean loss over languages. */
export function meanLoss({ losses }: CodecFigure): number {
  const values = Object.values(losses)
  return values.reduce((sum, loss) => sum + loss, 0) / values.length
}

export function codecLine(figure: CodecFigure): string {
  const { codec, updateBytes } = figure
  return `codec ${codec}: ${shortNumber(updateBytes / 1e3)} kB an update, mean held-out loss ${meanLoss(figure).toFixed(4)}`
}
