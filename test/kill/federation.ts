import { execFile } from 'node:child_process'
import { cp, mkdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pino } from 'pino'
import { initCoordinator } from '../../src/cli/coordinator-directory.ts'
import { connectOperator } from '../../src/cli/operator-client.ts'
import { startCoordinator } from '../../src/cli/start-coordinator.ts'
import { canonicalBytes } from '../../src/core/canonical-json.ts'
import { systemClock } from '../../src/core/clock.ts'
import { ensureRunId } from '../../src/core/ids.ts'
import { OperatorService } from '../../src/gen/proto/tapestry/v1/operator_pb.ts'
import type { Channel } from '../../src/participant/channel.ts'
import { addDataset } from '../../src/participant/datasets.ts'
import { joinFederation } from '../../src/participant/enrolment.ts'
import { createNodeDirectory } from '../../src/participant/node-directory.ts'
import type { PlanSpec } from '../../src/plan/spec.ts'
import { policyMessage } from '../../src/rpc/run-policy.ts'
import { datasetTerms } from '../dataset-records.ts'
import { writeTexts } from '../e2e/texts.ts'
import { MICRO_SPEC, usualPolicy } from '../network.ts'
import { type TestDatabase, testDatabase } from '../postgres.ts'

export const RUN = ensureRunId('run')
export const NODES = [
  { name: 'one', language: 'sw' },
  { name: 'two', language: 'fr' },
  { name: 'three', language: 'vi' },
] as const

/** A delta of 3.6 MB: an upload that can be interrupted in its middle. */
const SPEC: PlanSpec = {
  ...MICRO_SPEC,
  architecture: { ...MICRO_SPEC.architecture, hiddenSize: 192, intermediateSize: 512, layers: 2, heads: 4, kvHeads: 4 },
}
/** A dead worker's job is another's after this long. */
const LEASE_MS = 2000

/** A federation before its first round, to be copied: its directories, its database, and where its replicas will be. */
export type Template = {
  readonly root: string
  readonly database: TestDatabase
  /** Ports of the replicas, the same for every copy: the nodes know them. */
  readonly ports: readonly [number, number]
}

/** Makes a federation of two replicas, three nodes and a run of so many rounds. @param root an empty directory. */
export async function makeTemplate(root: string, rounds: number): Promise<Template> {
  const database = await testDatabase()
  const ports: [number, number] = [await freePort(), await freePort()]
  const template: Template = { root, database, ports }
  const dir = join(root, 'coordinator')
  const settings = { leaseMs: LEASE_MS, logLevel: 'warn', publicAddress: addressOf(template) }
  await initCoordinator({ dir, name: 'Test', settings, now: Date.now() })
  const coordinator = await startCoordinator({
    dir,
    flags: { port: ports[0], workers: 0, storage: storageOf(root) },
    env: { DATABASE_URL: database.url },
    clock: systemClock,
    log: pino({ level: 'silent' }),
  })
  const operator = await connectOperator({ dir }, {})
  try {
    for (const node of NODES) await addNode(root, operator, node)
    const policy = { ...usualPolicy(NODES.length), rounds, continuous: true }
    const plan = canonicalBytes(SPEC)
    await operator.call(OperatorService.method.createRun, {
      run: RUN,
      plan,
      policy: policyMessage(policy),
      channel: '',
    })
  } finally {
    operator.close()
    await coordinator.stop(1000)
  }
  return template
}

/** What nodes and operators are told: both replicas. */
export function addressOf({ ports }: Pick<Template, 'ports'>): string {
  return ports.map((port) => `127.0.0.1:${port}`).join(',')
}

export function storageOf(root: string): string {
  return `file:${join(root, 'storage')}`
}

/** A copy of a template that shares nothing with it: each replica has its own directory, and both one storage. */
export async function copyTemplate(template: Template, root: string): Promise<TestDatabase> {
  await mkdir(root)
  await promisify(execFile)('cp', ['-a', `${template.root}/.`, root])
  for (const replica of ['a', 'b']) await cp(join(root, 'coordinator'), join(root, replica), { recursive: true })
  return testDatabase(template.database)
}

async function addNode(root: string, operator: Channel, { name, language }: (typeof NODES)[number]): Promise<void> {
  const sources = await writeTexts(join(root, 'texts', name), name, [language])
  const directory = await createNodeDirectory(join(root, name), { name, sources })
  await addDataset(directory, datasetTerms({ languages: sources.map((source) => source.language) }), sources)
  const request = { member: `of-${name}` }
  const { invitation } = await operator.call(OperatorService.method.createInvitation, request)
  await joinFederation(directory, invitation, systemClock)
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}
