import { z } from 'zod'
import { OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { defineCommand } from '../command.ts'
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
      json: nodes.map(({ id, name, member, status, enrolledMs, jurisdiction }) => {
        return { id, name, member, status, enrolledMs: Number(enrolledMs), jurisdiction: jurisdiction || null }
      }),
      text: table(
        [
          { title: 'NODE' },
          { title: 'NAME' },
          { title: 'MEMBER' },
          { title: 'PLACE' },
          { title: 'STATUS' },
          { title: 'JOINED' },
        ],
        nodes.map((node) => [
          ...[node.id, node.name, node.member, node.jurisdiction || '-', node.status].map(printable),
          joined(node),
        ]),
      ),
    }
  },
})

const joined = (node: { readonly enrolledMs: bigint }) => formatTime(Number(node.enrolledMs))
