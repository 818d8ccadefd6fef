import { z } from 'zod'
import { TapestryError } from '../../core/error.ts'
import type { Revocable } from '../../participant/revocations.ts'
import { defineCommand, flag } from '../command.ts'
import { digest, nodeId } from '../input.ts'
import { MEMBER_INPUT, MEMBER_OPTIONS, withMember } from '../member-client.ts'
import { REVOCATION_INPUT, REVOCATION_NOTES, REVOCATION_OPTIONS, revokeWith } from '../revocation-request.ts'

export const contributionRevoke = defineCommand({
  path: 'contribution revoke',
  summary: 'take contributions back out of the models that they are in',
  arguments: [{ name: '[id]', description: 'sha256:<digest of the signed manifest>, as the receipt names it' }],
  options: [
    ...MEMBER_OPTIONS(),
    flag('--node <node>', 'instead of one: everything that the node contributed'),
    flag('--record <digest>', 'instead of one: everything trained on the dataset that the record declares'),
    ...REVOCATION_OPTIONS(),
  ],
  input: z.object({
    ...MEMBER_INPUT,
    ...REVOCATION_INPUT,
    id: digest.optional(),
    node: nodeId.optional(),
    record: digest.optional(),
  }),
  notes: REVOCATION_NOTES,
  async run({ id, node, record, mode, reason, dryRun, yes, wait, ...access }, { env, clock, output }) {
    const wish = { subject: subjectOf({ contribution: id, node, record }), mode, reason }
    return withMember(access, env, clock, (channel) => revokeWith(channel, wish, { dryRun, yes, wait }, output))
  },
})

type Named = { readonly [kind in 'contribution' | 'node' | 'record']: string | undefined }

function subjectOf({ contribution, node, record }: Named): Revocable {
  const subjects: Revocable[] = []
  if (contribution !== undefined) subjects.push({ case: 'contribution', value: contribution })
  if (node !== undefined) subjects.push({ case: 'node', value: node })
  if (record !== undefined) subjects.push({ case: 'record', value: record })
  const [subject, ...others] = subjects
  if (subject !== undefined && others.length === 0) return subject
  throw new TapestryError('INVALID_ARGUMENT', 'say what to revoke by one of: a contribution, --node, --record')
}
