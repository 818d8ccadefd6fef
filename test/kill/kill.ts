import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startEmbeddedPostgres } from '../../src/store/embedded-postgres.ts'
import { CLUSTER_VARIABLE } from '../postgres.ts'
import { makeTemplate } from './federation.ts'
import { killing, randomKill } from './schedule.ts'
import { type Outcome, take } from './take.ts'

const USAGE = `npm run kill -- [--runs 100] [--seed 1] [--json]
Takes a federation of two replicas, two workers and three nodes through so many rounds, once undisturbed, and once with a
SIGKILL in each round at a moment that the seed chooses. Nothing acknowledged may be lost; the checkpoints must be equal.`

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '100' },
      seed: { type: 'string', default: '1' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const runs = Number(values.runs)
  if (values.help || !Number.isInteger(runs) || runs < 1 || runs > 10_000) {
    process.stderr.write(`${USAGE}\n`)
    return values.help ? 0 : 2
  }
  const root = await mkdtemp(join(tmpdir(), 'tapestry-kill-'))
  process.env[CLUSTER_VARIABLE] = join(root, 'postgres')
  const server = await startEmbeddedPostgres(join(root, 'postgres'), { durable: false })
  try {
    const template = await makeTemplate(join(root, 'template'), runs)
    const undisturbed = await take(template, join(root, 'undisturbed'), () => undefined)
    const killed = await take(
      template,
      join(root, 'killed'),
      killing((round) => randomKill(values.seed, round)),
    )
    const differing = differences(undisturbed, killed)
    process.stdout.write(
      `${values.json ? JSON.stringify({ undisturbed, killed, differing }) : told(killed, differing)}\n`,
    )
    return differing.length === 0 && killed.lost.length === 0 ? 0 : 1
  } finally {
    await server.stop()
    await rm(root, { recursive: true, force: true })
  }
}

/** Numbers of the rounds that did not end in the same checkpoint. */
function differences(one: Outcome, other: Outcome): number[] {
  const rounds = Array.from({ length: Math.max(one.checkpoints.length, other.checkpoints.length) }, (_, at) => at)
  return rounds
    .filter((at) => !one.checkpoints[at] || one.checkpoints[at] !== other.checkpoints[at])
    .map((at) => at + 1)
}

function told({ checkpoints, kills, lost, wallMs }: Outcome, differing: readonly number[]): string {
  const seconds = (wallMs / 1000).toFixed(1)
  const equal = differing.length === 0 ? 'the same checkpoints as undisturbed' : `other checkpoints in ${differing}`
  const kept = lost.length === 0 ? 'nothing acknowledged was lost' : `LOST ${lost.join(', ')}`
  return `${checkpoints.length} rounds, ${kills} SIGKILLs in ${seconds} s: ${equal}; ${kept}`
}

process.exit(await main())
