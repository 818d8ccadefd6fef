// Peak memory of one merge by strategy, number of contributions and size: `npx tsx bench/merge-memory.ts [--quick]`
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { z } from 'zod'
import { parameterCount } from '../src/plan/budget.ts'
import { planOfSize, writeDelta } from './workload.ts'
import { withWorkspace } from './workspace.ts'

export type MergeMemoryFigure = {
  readonly strategy: string
  readonly contributions: number
  readonly modelBytes: number
  /** Of the process that merged, node itself included. */
  readonly peakBytes: number
  readonly seconds: number
}

const STRATEGIES = ['mean', 'median', 'krum:byzantine=1']
const CONTRIBUTIONS = [8, 64, 256]
const MEGABYTES = [4, 32]
/** Distinct files; more contributions name them again. */
const FILES = 8
/** Distances between all pairs: above this product of pairs and bytes a merge takes minutes and shows nothing new. */
const MOST_COMPARED_BYTES = 150e9
const CHILD = fileURLToPath(new URL('./merge-child.ts', import.meta.url))

const answerSchema = z.object({ peakBytes: z.number(), seconds: z.number() })

/** Merges in a process of its own each time. @param keep is told of each figure at once. */
export function measureMergeMemory({ quick = false }, keep: (figure: MergeMemoryFigure) => void): Promise<void> {
  return withWorkspace('merge', async (directory) => {
    for (const megabytes of quick ? [1] : MEGABYTES) {
      const spec = planOfSize(megabytes * 1e6)
      const modelBytes = parameterCount(spec.architecture) * 4
      const paths: string[] = []
      for (let i = 0; i < FILES; i += 1) paths.push((await writeDelta(join(directory, `${i}`), spec, i)).path)
      for (const contributions of quick ? [FILES] : CONTRIBUTIONS) {
        for (const strategy of STRATEGIES) {
          if (strategy.startsWith('krum') && (contributions ** 2 / 2) * modelBytes > MOST_COMPARED_BYTES) continue
          const took = await mergeOnce({ directory, paths, contributions, strategy })
          keep({ strategy, contributions, modelBytes, ...took })
        }
      }
    }
  })
}

async function mergeOnce(task: object) {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', CHILD, JSON.stringify(task)])
  return answerSchema.parse(JSON.parse(stdout))
}

/** One line for a terminal. */
export function mergeMemoryLine({
  strategy,
  contributions,
  modelBytes,
  peakBytes,
  seconds,
}: MergeMemoryFigure): string {
  const what = `${strategy.padEnd(18)}${String(contributions).padStart(4)} x ${(modelBytes / 1e6).toFixed(1).padStart(5)} MB`
  return `${what}  peak ${(peakBytes / 1e6).toFixed(0).padStart(4)} MB  ${seconds.toFixed(2).padStart(7)} s`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const quick = process.argv.includes('--quick')
  await measureMergeMemory({ quick }, (figure) => void process.stdout.write(`${mergeMemoryLine(figure)}\n`))
}
