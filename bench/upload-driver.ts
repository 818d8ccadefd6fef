// The nodes of a measured round, in a process of their own: enrolled by invitation, each with its own certificate,
// connection and delta. Started by round.ts over IPC.
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { connectOperator } from '../src/cli/operator-client.ts'
import { systemClock } from '../src/core/clock.ts'
import { ensureDigest } from '../src/core/digest.ts'
import { ContributionService } from '../src/gen/proto/tapestry/v1/contribution_pb.ts'
import { ModelService } from '../src/gen/proto/tapestry/v1/model_pb.ts'
import { OperatorService } from '../src/gen/proto/tapestry/v1/operator_pb.ts'
import { RoundPhase, RoundService } from '../src/gen/proto/tapestry/v1/round_pb.ts'
import { parseManifest } from '../src/model/manifest.ts'
import type { Channel } from '../src/participant/channel.ts'
import { type NodeClient, openNodeClient } from '../src/participant/client.ts'
import { downloadArtifact } from '../src/participant/download.ts'
import { joinFederation } from '../src/participant/enrolment.ts'
import { createNodeDirectory, requireKey } from '../src/participant/node-directory.ts'
import { parseRoundView, type RoundView } from '../src/participant/round-view.ts'
import { uploadArtifact } from '../src/participant/upload.ts'
import { parsePlanSpec } from '../src/plan/spec.ts'
import { RUN } from './coordinator.ts'
import { putPlain } from './plain-put.ts'
import { contributionRequest } from './submission.ts'
import { type DeltaFile, writeDelta } from './workload.ts'

const taskSchema = z.object({
  directory: z.string(),
  coordinator: z.string(),
  invitations: z.array(z.string()),
  spec: z.unknown(),
  rounds: z.number(),
  /** Whether the nodes fetch the base before they send, as after a release. */
  download: z.boolean(),
})

type Node = { readonly client: NodeClient; readonly key: string; readonly directory: string }
type Task = z.infer<typeof taskSchema>

/** Go, and where uploads without TLS are taken when these are to go without. */
const goSchema = z.object({ plainPort: z.number().optional() })

/** Called when the parent says go; a driver without a parent has nothing left to do. */
let go: (message: unknown) => void = () => undefined
process.on('message', (message) => go(message))
process.on('disconnect', () => process.exit(1))
const told = () => new Promise((resolve) => (go = resolve)).then((message) => goSchema.parse(message))
const tell = (message: object) => process.send?.(message)
/** Milliseconds since the epoch, finer than Date. */
const now = () => performance.timeOrigin + performance.now()

async function enrol(task: Task): Promise<Node[]> {
  const nodes: Node[] = []
  for (const [i, invitation] of task.invitations.entries()) {
    const directory = await createNodeDirectory(join(task.directory, `node-${i}`), { name: `node-${i}`, sources: [] })
    await joinFederation(directory, invitation, systemClock)
    const client = await openNodeClient(directory, systemClock)
    nodes.push({ client, key: await requireKey(directory, 'node.key'), directory: directory.root })
  }
  return nodes
}

/** Every change of the run's newest round, as the operator sees it. */
class RoundWatch {
  #waiting: { phase: RoundPhase; number: number; resolve(at: number): void }[] = []
  #seen = new Map<string, number>()

  constructor(operator: Channel) {
    this.#follow(operator).catch((error) => {
      process.stderr.write(`${error}\n`)
      process.exit(1)
    })
  }

  /** When a round was first seen in a phase, or in a later one. */
  reached(number: number, phase: RoundPhase): Promise<number> {
    const seen = this.#seen.get(`${number} ${phase}`)
    if (seen !== undefined) return Promise.resolve(seen)
    return new Promise((resolve) => this.#waiting.push({ phase, number, resolve }))
  }

  async #follow(operator: Channel): Promise<void> {
    for await (const { round } of operator.receive(RoundService.method.watchRounds, { run: RUN })) {
      const number = round?.ref?.number
      if (round === undefined || number === undefined) continue
      if (round.phase === RoundPhase.FAILED) throw new Error(`round ${number} failed: ${round.reason}`)
      const at = now()
      for (let phase = RoundPhase.OPEN; phase <= round.phase; phase += 1) {
        const key = `${number} ${phase}`
        if (!this.#seen.has(key)) this.#seen.set(key, at)
      }
      this.#waiting = this.#waiting.filter((one) => {
        const seen = this.#seen.get(`${one.number} ${one.phase}`)
        if (seen !== undefined) one.resolve(seen)
        return seen === undefined
      })
    }
  }
}

async function baseOf(node: Node, view: RoundView) {
  const { manifest } = await node.client.call(ModelService.method.getCheckpoint, { ref: view.base })
  const file = parseManifest(manifest).files.find(({ path }) => path === 'model.safetensors')
  if (file === undefined) throw new Error('the base has no weights')
  return file
}

async function fetchBase(node: Node, base: { digest: string; size: number }): Promise<void> {
  const path = join(node.directory, 'cache', 'base')
  await downloadArtifact(node.client, { digest: ensureDigest(base.digest), size: base.size }, path)
}

async function submit({ client, key }: Node, view: RoundView, delta: DeltaFile): Promise<void> {
  const request = contributionRequest({ membership: client.membership, key }, view, delta)
  const answer = await client.call(ContributionService.method.submitContribution, request)
  if (answer.rejection !== undefined) throw new Error(`refused: ${answer.rejection.detail}`)
}

async function playRound(nodes: readonly Node[], operator: Channel, watch: RoundWatch, task: Task, serial: number) {
  const { round } = await operator.call(OperatorService.method.startRound, { run: RUN })
  const view = parseRoundView(round, 'none')
  const { number } = view.key
  await Promise.all(nodes.map(({ client }) => client.call(RoundService.method.joinRound, { ref: view.key })))
  await watch.reached(number, RoundPhase.COLLECTING)
  const spec = parsePlanSpec(task.spec)
  const deltas: DeltaFile[] = []
  for (const [i, node] of nodes.entries()) {
    deltas.push(await writeDelta(join(node.directory, 'delta'), spec, serial * nodes.length + i))
  }
  const base = task.download && nodes[0] !== undefined ? await baseOf(nodes[0], view) : undefined
  tell({ type: 'ready', digests: deltas.map(({ digest }) => digest) })
  const { plainPort } = await told()
  const began = now()
  const uploaded: number[] = []
  let downloaded = began
  await Promise.all(
    nodes.map(async (node, i) => {
      const delta = deltas[i]
      if (delta === undefined) throw new Error('a node without a delta')
      if (base !== undefined) await fetchBase(node, base)
      downloaded = Math.max(downloaded, now())
      if (plainPort === undefined) await uploadArtifact(node.client, delta, delta.path)
      else await putPlain(node.client, plainPort, delta)
      uploaded.push(now())
      await submit(node, view, delta)
    }),
  )
  const submitted = now()
  const candidate = await watch.reached(number, RoundPhase.EVALUATING)
  tell({ type: 'round', began, downloaded, uploaded: Math.max(...uploaded), submitted, candidate })
  await watch.reached(number, RoundPhase.PUBLISHED)
  for (const { directory } of nodes) await rm(join(directory, 'cache'), { recursive: true, force: true })
  for (const { directory } of nodes) await mkdir(join(directory, 'cache'))
}

async function main(): Promise<void> {
  const task = taskSchema.parse(JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')))
  const nodes = await enrol(task)
  const operator = await connectOperator({ dir: task.coordinator }, {})
  const watch = new RoundWatch(operator)
  for (let serial = 0; serial < task.rounds; serial += 1) await playRound(nodes, operator, watch, task, serial)
  process.exit(0)
}

await main()
