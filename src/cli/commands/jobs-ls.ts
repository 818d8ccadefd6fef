import { z } from 'zod'
import { OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { defineCommand, flag } from '../command.ts'
import { wholeNumber } from '../input.ts'
import { jobJson, jobsTable } from '../job-view.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'

export const jobsLs = defineCommand({
  path: 'jobs ls',
  summary: "list the coordinator's merges and decisions: who works on them, and what failed",
  options: [
    ...OPERATOR_OPTIONS(),
    flag('--state <state...>', 'only ready, leased, done or abandoned ones'),
    flag('--limit <n>', 'at most so many, newest first (100)'),
  ],
  input: z.object({
    ...OPERATOR_INPUT,
    state: z.array(z.enum(['ready', 'leased', 'done', 'abandoned'])).default([]),
    limit: wholeNumber(1, 1000).optional(),
  }),
  notes: 'An abandoned job with a time under UNTIL is waited for until then: tapestry jobs retry JOB.',
  async run({ state: states, limit = 0, ...access }, { env }) {
    const { jobs } = await withOperator(access, env, (client) =>
      client.call(OperatorService.method.listJobs, { states, limit }),
    )
    return { json: jobs.map(jobJson), text: jobsTable(jobs) }
  },
})
