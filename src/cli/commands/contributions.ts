import { z } from 'zod'
import {
  ContributionService,
  type SummarizeContributionsRequest,
  SummaryKey,
} from '../../gen/proto/tapestry/v1/contribution_pb.ts'
import { openNodeClient } from '../../participant/client.ts'
import { openNodeDirectory } from '../../participant/node-directory.ts'
import { accountsCsv, accountsJson, accountsText } from '../accounts-view.ts'
import type { Io } from '../command.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { runId } from '../input.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, type OperatorAccess, withOperator } from '../operator-client.ts'

const KEYS = {
  language: SummaryKey.LANGUAGE,
  community: SummaryKey.COMMUNITY,
  node: SummaryKey.NODE,
  member: SummaryKey.MEMBER,
  jurisdiction: SummaryKey.JURISDICTION,
  round: SummaryKey.ROUND,
} as const

const NAMES = [
  'language',
  'community',
  'node',
  'member',
  'jurisdiction',
  'round',
] as const satisfies readonly (keyof typeof KEYS)[]

export const contributions = defineCommand({
  path: 'contributions',
  summary: 'what has been contributed, added up: what a member can show to its board',
  options: [
    ...OPERATOR_OPTIONS(),
    flag('--node <directory>', 'ask as this node instead, about its own contributions'),
    setting('--by <what>', 'what to add up by (language)').choices(NAMES),
    setting('--run <run>', 'only this run'),
    flag('--csv', 'write comma-separated values, for spreadsheets'),
  ],
  input: z.object({
    ...OPERATOR_INPUT,
    node: z.string().optional(),
    by: z.enum(NAMES).default('language'),
    run: runId.optional(),
    csv: z.boolean().default(false),
  }),
  notes:
    'Effects are estimates (docs/ACCOUNTING.md): parts of the change that was measured, nats per token, below 0 is better.',
  async run({ by, run, node, csv, ...access }, io) {
    const request = { by: KEYS[by], run: run ?? '' }
    const response = node === undefined ? await askAsOperator(access, request, io) : await askAsNode(node, request, io)
    return { json: accountsJson(response), text: csv ? accountsCsv(by, response) : accountsText(by, response) }
  },
})

type Request = Pick<SummarizeContributionsRequest, 'by' | 'run'>
const { summarizeContributions } = ContributionService.method

function askAsOperator(access: OperatorAccess, request: Request, { env }: Io) {
  return withOperator(access, env, (channel) => channel.call(summarizeContributions, request))
}

async function askAsNode(directory: string, request: Request, { clock }: Io) {
  const client = await openNodeClient(await openNodeDirectory(directory), clock)
  try {
    return await client.call(summarizeContributions, request)
  } finally {
    client.close()
  }
}
