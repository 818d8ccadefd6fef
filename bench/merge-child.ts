// One merge, and what it took: started by merge-memory.ts, answers on stdout.
import { join } from 'node:path'
import { z } from 'zod'
import { mergeRound } from '../src/aggregation/merge-round.ts'
import { parseStrategyText } from '../src/core/strategy.ts'
import { secondsOf } from './statistics.ts'

const { directory, paths, contributions, strategy } = z
  .object({ directory: z.string(), paths: z.array(z.string()), contributions: z.number(), strategy: z.string() })
  .parse(JSON.parse(process.argv[2] ?? ''))

const [base = ''] = paths
const weight = 1 / contributions
const deltas = Array.from({ length: contributions }, (_, i) => ({ path: paths[i % paths.length] ?? base, weight }))
const seconds = await secondsOf(() =>
  mergeRound({
    base: [base],
    deltas,
    out: join(directory, 'merged'),
    strategy: parseStrategyText(strategy),
    compare: true,
  }),
)
// The system counts in KiB (getrusage(2), Linux).
process.stdout.write(JSON.stringify({ peakBytes: process.resourceUsage().maxRSS * 1024, seconds }))
