import { z } from 'zod'
import { OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { defineCommand } from '../command.ts'
import { runId } from '../input.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'
import { roundJson, roundsTable } from '../round-view.ts'

export const roundStart = defineCommand({
  path: 'round start',
  summary: 'open the next round of a run',
  arguments: [{ name: '<run>', description: 'the run' }],
  options: OPERATOR_OPTIONS(),
  input: z.object({ ...OPERATOR_INPUT, run: runId }),
  async run({ run, ...access }, { env }) {
    const { round } = await withOperator(access, env, (client) =>
      client.call(OperatorService.method.startRound, { run }),
    )
    return round && { json: roundJson(round), text: roundsTable([round]) }
  },
})
