import { z } from 'zod'
import { TapestryError } from '../../core/error.ts'
import { type Node, OperatorService } from '../../gen/proto/tapestry/v1/operator_pb.ts'
import { requestRevocation } from '../../participant/revocations.ts'
import { defineCommand, flag } from '../command.ts'
import { nodeId } from '../input.ts'
import { nodeJson } from '../node-view.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'
import { MODE_INPUT, modeOption } from '../revocation-request.ts'
import { revocationJson, revocationsTable } from '../revocation-view.ts'

const NODE = [{ name: '<node>', description: 'its id, as "nodes ls" shows it' }]
const INPUT = { ...OPERATOR_INPUT, node: nodeId, reason: z.string() }
const IN_PUBLIC = 'The reason is in the public log for ever: name no persons.'

const options = () => [
  ...OPERATOR_OPTIONS(),
  flag('--reason <text>', 'why, in one line of at most 200 characters').makeOptionMandatory(),
]

export const nodesSuspend = defineCommand({
  path: 'nodes suspend',
  summary: 'bar a node until it is reinstated; what it contributed stays',
  arguments: NODE,
  options: options(),
  input: z.object(INPUT),
  notes: `Rounds do not wait for it. ${IN_PUBLIC}`,
  async run({ node, reason, ...access }, { env }) {
    const { suspendNode } = OperatorService.method
    return view(await withOperator(access, env, (client) => client.call(suspendNode, { node, reason })))
  },
})

export const nodesReinstate = defineCommand({
  path: 'nodes reinstate',
  summary: 'let a suspended node in again',
  arguments: NODE,
  options: options(),
  input: z.object(INPUT),
  notes: IN_PUBLIC,
  async run({ node, reason, ...access }, { env }) {
    const { reinstateNode } = OperatorService.method
    return view(await withOperator(access, env, (client) => client.call(reinstateNode, { node, reason })))
  },
})

export const nodesEject = defineCommand({
  path: 'nodes eject',
  summary: 'bar a node for good; what it contributed to rounds under way does not count',
  arguments: NODE,
  options: [
    ...options(),
    flag('--yes', 'do it: without this nothing is changed'),
    flag('--revoke', 'then take everything back that it contributed'),
    modeOption(),
  ],
  input: z.object({ ...INPUT, ...MODE_INPUT, yes: z.boolean().default(false), revoke: z.boolean().default(false) }),
  notes:
    'Released checkpoints stay as they are, unless --revoke (docs/REVOCATION.md); cut off between the two, give it again.\n' +
    IN_PUBLIC,
  async run({ node, reason, yes, revoke, mode, ...access }, { env }) {
    if (!yes) throw new TapestryError('INVALID_ARGUMENT', 'an ejection cannot be taken back', { hint: 'add --yes' })
    const wish = { subject: { case: 'node', value: node }, mode, reason } as const
    const { ejected, revocations } = await withOperator(access, env, async (client) => ({
      ejected: await client.call(OperatorService.method.ejectNode, { node, reason }),
      revocations: revoke ? await requestRevocation(client, wish) : [],
    }))
    const { json, text } = view(ejected, ejected.dropped)
    return {
      json: { ...json, revocations: revocations.map(revocationJson) },
      text: revocations.length === 0 ? text : `${text}\n${revocationsTable(revocations)}`,
    }
  },
})

function view({ node }: { readonly node?: Node | undefined }, dropped: readonly string[] = []) {
  if (node === undefined) throw new TapestryError('VERIFICATION_FAILED', 'the coordinator named no node')
  const lost = dropped.length === 0 ? '' : `\nnot counted: ${dropped.join(', ')}`
  return { json: { node: nodeJson(node), dropped: [...dropped] }, text: `${node.id} is ${node.status}${lost}` }
}
