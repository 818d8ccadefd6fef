import { z } from 'zod'
import { joinFederation } from '../../participant/enrolment.ts'
import { defineCommand, setting } from '../command.ts'
import { defaultNodeDirectory } from '../directories.ts'
import { communityPairs } from '../input.ts'
import { readInvitation } from '../invitation-input.ts'
import { openOrInitNode } from '../node-setup.ts'

export const nodeJoin = defineCommand({
  path: 'node join',
  summary: 'join a federation with an invitation; with --data also makes the node',
  options: [
    setting('--invitation-file <file>', 'the invitation, "-" for stdin; otherwise TAPESTRY_INVITATION or a prompt'),
    setting('--dir <directory>', 'where the node keeps its keys and rounds'),
    setting('--data <directory>', 'folder of <BCP-47>.txt or <BCP-47>/*.txt; it stays where it is'),
    setting('--name <name>', 'the name that others see (the host name)'),
    setting('--community <tag=name...>', 'community that the text in a language belongs to'),
  ],
  input: z.object({
    invitationFile: z.string().optional(),
    dir: z.string().optional(),
    data: z.string().optional(),
    name: z.string().optional(),
    community: communityPairs.default([]),
  }),
  async run({ invitationFile, dir, data, name, community }, { env, clock, output }) {
    const invitation = await readInvitation(invitationFile, env, process.stdin, output.stderr)
    const root = dir ?? defaultNodeDirectory(env)
    const directory = await openOrInitNode({ root, data, name, communities: community })
    const { federation, address, member, node } = await joinFederation(directory, invitation, clock)
    return {
      json: { node, member, federation, address, directory: root },
      text: `${node} joined ${federation} at ${address} for ${member}\ntake part: tapestry node run --dir ${root}`,
    }
  },
})
