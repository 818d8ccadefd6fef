import { z } from 'zod'
import { OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { defineCommand, setting } from '../command.ts'
import { duration, jurisdiction, memberId } from '../input.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'

export const inviteCreate = defineCommand({
  path: 'invite create',
  summary: "make a single-use invitation for a member's node",
  options: [
    ...OPERATOR_OPTIONS(),
    setting('--member <member>', 'the member that the node will belong to').makeOptionMandatory(),
    setting('--jurisdiction <place>', 'where the member is, as ISO 3166, such as KE or CA-QC (not said)'),
    setting('--valid <duration>', 'how long it can be used, at most 72h (24h)'),
  ],
  input: z.object({
    ...OPERATOR_INPUT,
    member: memberId,
    valid: duration.optional(),
    jurisdiction: jurisdiction.optional(),
  }),
  notes: 'The invitation is a secret: hand it over on a private channel. It is shown once.',
  async run({ member, valid, jurisdiction: place, ...access }, { env }) {
    const validSeconds = valid === undefined ? 0 : Math.max(1, Math.round(valid / 1000))
    const { invitation, expiresMs } = await withOperator(access, env, (client) =>
      client.call(OperatorService.method.createInvitation, { member, validSeconds, jurisdiction: place ?? '' }),
    )
    return { json: { invitation, member, expiresMs: Number(expiresMs) }, text: invitation }
  },
})
