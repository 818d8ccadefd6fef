import { z } from 'zod'
import { RoundService } from '../../gen/proto/tapestry/v1/round_pb.ts'
import { defineCommand, setting } from '../command.ts'
import { runId, wholeNumber } from '../input.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'
import { roundJson, roundsTable } from '../round-view.ts'

export const roundLs = defineCommand({
  path: 'round ls',
  summary: 'list rounds, newest first',
  arguments: [{ name: '[run]', description: 'only this run' }],
  options: [...OPERATOR_OPTIONS(), setting('--limit <n>', 'at most this many, 1 to 1000 (100)')],
  input: z.object({ ...OPERATOR_INPUT, run: runId.optional(), limit: wholeNumber(1, 1000).optional() }),
  async run({ run, limit, ...access }, { env }) {
    const { rounds } = await withOperator(access, env, (client) =>
      client.call(RoundService.method.listRounds, { run: run ?? '', limit: limit ?? 0 }),
    )
    return { json: rounds.map(roundJson), text: roundsTable(rounds) }
  },
})
