import { z } from 'zod'
import { OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { defineCommand } from '../command.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'

export const coordinatorHealth = defineCommand({
  path: 'coordinator health',
  summary: 'ask a coordinator whether it serves and reaches its database; exits with 6 when it does not',
  options: OPERATOR_OPTIONS(),
  input: z.object(OPERATOR_INPUT),
  async run(access, { env }) {
    // Reading the runs takes the whole way: TLS, authorisation, and the database.
    const { runs } = await withOperator(access, env, (client) => client.call(OperatorService.method.listRuns, {}))
    return { json: { status: 'serving', runs: runs.length }, text: 'serving' }
  },
})
