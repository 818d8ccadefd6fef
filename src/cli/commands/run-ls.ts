import { z } from 'zod'
import { OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { defineCommand } from '../command.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'
import { runJson, runsTable } from '../run-view.ts'

export const runLs = defineCommand({
  path: 'run ls',
  summary: 'list the runs',
  options: OPERATOR_OPTIONS(),
  input: z.object(OPERATOR_INPUT),
  async run(access, { env }) {
    const { runs } = await withOperator(access, env, (client) => client.call(OperatorService.method.listRuns, {}))
    return { json: runs.map(runJson), text: runsTable(runs) }
  },
})
