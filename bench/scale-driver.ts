// Simulated nodes of a scale measurement, in a process of their own: each with its own key, certificate, connection and
// delta. Started by scale.ts over IPC, which tells it what to do next.
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { digestOf, ensureDigest, fromHex } from '../src/core/digest.ts'
import { ensureFederationId, ensureNodeId, ensureRunId, type NodeId } from '../src/core/ids.ts'
import { ArtifactService } from '../src/gen/proto/tapestry/v1/artifact_pb.ts'
import { ContributionService } from '../src/gen/proto/tapestry/v1/contribution_pb.ts'
import { RoundService } from '../src/gen/proto/tapestry/v1/round_pb.ts'
import { issueClientCertificate } from '../src/identity/certificate-authority.ts'
import { createCertificateRequest } from '../src/identity/certificate-request.ts'
import { generateKey } from '../src/identity/key-file.ts'
import { encodeHeader, inNameOrder } from '../src/model/safetensors.ts'
import { elementCount } from '../src/model/tensor.ts'
import { parameterSpecs } from '../src/plan/parameters.ts'
import { GrpcSession } from './grpc-session.ts'
import { SCALE_SPEC } from './scale-plan.ts'
import { contributionRequest, type Signer } from './submission.ts'

const taskSchema = z.object({
  url: z.string(),
  authority: z.object({ certificate: z.string(), key: z.string() }),
  federation: z.string(),
  first: z.number(),
  count: z.number(),
  /** Calls under way at once, of all nodes of this process. */
  parallel: z.number(),
})

const roundSchema = z.object({ run: z.string(), number: z.number(), base: z.string() })

/** What the parent asks for, in this order. */
const orderSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('connect') }),
  z.object({ type: z.literal('heard'), since: z.number() }),
  z.object({ type: z.literal('join'), round: roundSchema }),
  z.object({ type: z.literal('submit'), round: roundSchema }),
])
type Order = z.infer<typeof orderSchema>
type RoundPlace = z.infer<typeof roundSchema>

type Node = Signer & { readonly serial: number; readonly tls: { readonly key: string; readonly cert: string } }
type Connected = Node & { readonly session: GrpcSession; heardAt: number }

const task = taskSchema.parse(JSON.parse(process.argv[2] ?? ''))
const federation = ensureFederationId(task.federation)
process.on('disconnect', () => process.exit(1))
const tell = (message: object) => process.send?.(message)
/** Milliseconds since the epoch, finer than Date; the parent's clock is the same. */
const now = () => performance.timeOrigin + performance.now()

async function makeNode(serial: number): Promise<Node> {
  const node: NodeId = ensureNodeId(`node-${digestOf(`bench node ${serial}`).slice(7, 39)}`)
  const tlsKey = generateKey('ed25519').privateKey
  const request = await createCertificateRequest(tlsKey)
  const cert = await issueClientCertificate(task.authority, request, { kind: 'node', node }, Date.now())
  return {
    serial,
    membership: { federation, node },
    key: generateKey('ed25519').privateKey,
    tls: { key: tlsKey, cert },
  }
}

/** Does `work` for every node, so many at once. @returns how long each took, in ms. */
async function each<T>(nodes: readonly T[], work: (node: T) => Promise<void>): Promise<number[]> {
  const waiting = [...nodes]
  const took: number[] = []
  const worker = async () => {
    for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) {
      const began = now()
      await work(node)
      took.push(now() - began)
    }
  }
  await Promise.all(Array.from({ length: task.parallel }, worker))
  return took
}

async function connect(node: Node): Promise<Connected> {
  const { certificate: ca } = task.authority
  const session = await GrpcSession.open({ url: task.url, ca, ...node.tls })
  const connected = { ...node, session, heardAt: 0 }
  session
    .receive(RoundService.method.watchRounds, {}, () => {
      connected.heardAt = now()
    })
    .catch((error) => {
      process.stderr.write(`${error}\n`)
      process.exit(1)
    })
  return connected
}

const tensors = inNameOrder(parameterSpecs(SCALE_SPEC))
const header = encodeHeader(tensors)

/** A delta that no other node has. */
function deltaOf({ serial }: Node) {
  const floats = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0)
  const values = new Float32Array(floats).fill(1e-6)
  values[0] = 1e-6 * (1 + serial)
  const data = Buffer.concat([header, Buffer.from(values.buffer)])
  return { data, digest: fromHex(createHash('sha256').update(data).digest('hex')), size: data.byteLength }
}

/** One update, in three calls. The bytes go over gRPC too: a second connection would be measured as well. */
async function submit(node: Connected, { run, number, base }: RoundPlace): Promise<void> {
  const { session } = node
  const { data, digest, size } = deltaOf(node)
  await session.call(ArtifactService.method.announceArtifact, { digest, size: BigInt(size) })
  await session.call(ArtifactService.method.uploadArtifact, { digest, offset: 0n, data })
  const view = { key: { run: ensureRunId(run), number }, base: ensureDigest(base) }
  const request = contributionRequest(node, view, { digest, size })
  const { rejection } = await session.call(ContributionService.method.submitContribution, request)
  if (rejection !== undefined) throw new Error(`refused: ${rejection.reason} ${rejection.detail}`)
}

async function obey(order: Order, nodes: readonly Node[], connected: Connected[]): Promise<number[]> {
  switch (order.type) {
    case 'connect':
      return each(nodes, async (node) => {
        connected.push(await connect(node))
      })
    case 'heard':
      return heard(connected, order.since)
    case 'join': {
      const { run, number } = order.round
      return each(connected, async ({ session }) => {
        await session.call(RoundService.method.joinRound, { ref: { run, number } })
      })
    }
    case 'submit':
      return each(connected, (node) => submit(node, order.round))
  }
}

/** Waits until every node has heard something since a moment. @returns after how many ms. */
async function heard(connected: readonly Connected[], since: number): Promise<number[]> {
  while (connected.some(({ heardAt }) => heardAt < since)) await new Promise((resolve) => setTimeout(resolve, 20))
  return connected.map(({ heardAt }) => heardAt - since)
}

const bytesOf = (all: readonly Connected[]) => all.reduce((sum, { session }) => sum + session.bytes, 0)

const nodes: Node[] = []
for (let i = 0; i < task.count; i += 1) nodes.push(await makeNode(task.first + i))
const connected: Connected[] = []
let turn = Promise.resolve()
process.on('message', (message) => {
  turn = turn.then(async () => {
    const [began, before] = [now(), bytesOf(connected)]
    const ms = await obey(orderSchema.parse(message), nodes, connected)
    tell({ type: 'done', ms, seconds: (now() - began) / 1000, bytes: bytesOf(connected) - before })
  })
  turn.catch((error) => {
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n`)
    process.exit(1)
  })
})
tell({ type: 'nodes', nodes: nodes.map(({ membership, key }) => ({ id: membership.node, key })) })
