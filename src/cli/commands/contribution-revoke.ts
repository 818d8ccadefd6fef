import { z } from 'zod'
import { defineCommand } from '../command.ts'
import { digest } from '../input.ts'
import { MEMBER_INPUT, MEMBER_OPTIONS, withMember } from '../member-client.ts'
import { REVOCATION_INPUT, REVOCATION_NOTES, REVOCATION_OPTIONS, revokeWith } from '../revocation-request.ts'

export const contributionRevoke = defineCommand({
  path: 'contribution revoke',
  summary: 'take a contribution back out of the models that it is in',
  arguments: [{ name: '<id>', description: 'sha256:<digest of the signed manifest>, as the receipt names it' }],
  options: [...MEMBER_OPTIONS(), ...REVOCATION_OPTIONS()],
  input: z.object({ ...MEMBER_INPUT, ...REVOCATION_INPUT, id: digest }),
  notes: REVOCATION_NOTES,
  async run({ id, mode, reason, dryRun, yes, wait, ...access }, { env, clock, output }) {
    const wish = { subject: { case: 'contribution', value: id }, mode, reason } as const
    return withMember(access, env, clock, (channel) => revokeWith(channel, wish, { dryRun, yes, wait }, output))
  },
})
