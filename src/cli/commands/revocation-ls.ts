import { z } from 'zod'
import { RevocationService } from '../../gen/proto/tapestry/v1/revocation_pb.ts'
import { defineCommand, setting } from '../command.ts'
import { runId, wholeNumber } from '../input.ts'
import { MEMBER_INPUT, MEMBER_OPTIONS, withMember } from '../member-client.ts'
import { revocationJson, revocationsTable } from '../revocation-view.ts'

export const revocationLs = defineCommand({
  path: 'revocation ls',
  summary: 'list revocations, newest first: what was taken back, and how far it has come',
  options: [
    ...MEMBER_OPTIONS(),
    setting('--run <run>', 'only this run'),
    setting('--limit <n>', 'at most this many, 1 to 1000 (100)'),
  ],
  input: z.object({ ...MEMBER_INPUT, run: runId.optional(), limit: wholeNumber(1, 1000).optional() }),
  async run({ run, limit, ...access }, { env, clock }) {
    const request = { run: run ?? '', limit: limit ?? 0 }
    const { revocations } = await withMember(access, env, clock, (channel) =>
      channel.call(RevocationService.method.listRevocations, request),
    )
    return { json: revocations.map(revocationJson), text: revocationsTable(revocations) }
  },
})
