import { z } from 'zod'
import { OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { defineCommand } from '../command.ts'
import { nodeJson, statusText } from '../node-view.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'
import { formatTime, printable, table } from '../terminal.ts'

export const nodesLs = defineCommand({
  path: 'nodes ls',
  summary: 'list the nodes that have joined',
  options: OPERATOR_OPTIONS(),
  input: z.object(OPERATOR_INPUT),
  async run(access, { env }) {
    const { nodes } = await withOperator(access, env, (client) => client.call(OperatorService.method.listNodes, {}))
    return {
      json: nodes.map(nodeJson),
      text: table(
        [
          { title: 'NODE' },
          { title: 'NAME' },
          { title: 'MEMBER' },
          { title: 'PLACE' },
          { title: 'STATUS' },
          { title: 'SINCE' },
          { title: 'KEYS' },
          { title: 'JOINED' },
          { title: 'REASON' },
        ],
        nodes.map((node) => [
          ...[node.id, node.name, node.member, node.jurisdiction || '-', statusText(node)].map(printable),
          formatTime(Number(node.pausedSinceMs || node.statusSinceMs)),
          node.keyChanges === 0 ? 'first' : `${node.keyChanges + 1}., ${formatTime(Number(node.keysSinceMs))}`,
          formatTime(Number(node.enrolledMs)),
          printable(node.reason || '-'),
        ]),
      ),
    }
  },
})
