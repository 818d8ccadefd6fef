import { z } from 'zod'
import { OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { defineCommand } from '../command.ts'
import { jobJson, jobsTable } from '../job-view.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'

export const jobsRetry = defineCommand({
  path: 'jobs retry',
  summary: 'ask again for an abandoned job, while its round still waits for it',
  arguments: [{ name: '<job>', description: 'the job, as jobs ls tells it: aggregate/run/1' }],
  options: OPERATOR_OPTIONS(),
  input: z.object({ ...OPERATOR_INPUT, job: z.string().min(1) }),
  async run({ job: id, ...access }, { env }) {
    const { job } = await withOperator(access, env, (client) =>
      client.call(OperatorService.method.retryJob, { job: id }),
    )
    return job && { json: jobJson(job), text: jobsTable([job]) }
  },
})
