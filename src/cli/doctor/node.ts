import { join } from 'node:path'
import type { Clock } from '../../core/clock.ts'
import { RoundService } from '../../gen/proto/tapestry/v1/round_pb.ts'
import { type Addresses, ensureAddresses } from '../../participant/address.ts'
import type { Channel } from '../../participant/channel.ts'
import {
  type NodeDirectory,
  openNodeDirectory,
  requireKey,
  requireMembership,
} from '../../participant/node-directory.ts'
import { readPolicy } from '../../participant/policy-file.ts'
import { openReplicas } from '../../participant/replicas.ts'
import { parseTlsPem, validityOf } from '../../participant/tls-credential.ts'
import { IMPATIENT, type Reached, reach } from './coordinator-reach.ts'
import { type Diagnosis, type Examination, fail, ok, warn } from './diagnosis.ts'
import { examineDisk, examineKeys, requireReadable } from './machine.ts'

/** A base, a delta and the engine's scratch of a small model; a large one needs more, and says so itself. */
const LEAST_FREE_BYTES = 512 * 2 ** 20
const SECRET = /\.(key|pem)$/

/** What a node needs to take part. Nothing is changed, and no certificate renewed. */
export function nodeExaminations(root: string, clock: Clock): readonly Examination[] {
  const directory = () => openNodeDirectory(root)
  const reached = once(async () => withNode(await directory(), (channel) => reach(channel, clock)))
  return [
    { check: 'directory', examine: async () => ok(`${(await (await directory()).read()).name} in ${root}`) },
    { check: 'keys', examine: () => examineKeys(join(root, 'keys'), ['node.key'], (name) => SECRET.test(name)) },
    { check: 'recovery key', examine: async () => examineRecoveryKey(await directory()) },
    { check: 'disk', examine: () => examineDisk(root, LEAST_FREE_BYTES) },
    { check: 'text', examine: async () => examineText(await directory()) },
    { check: 'policy', examine: async () => examinePolicy(await directory()) },
    { check: 'certificate', examine: async () => examineCertificate(await directory(), clock) },
    { check: 'coordinator', examine: async () => (await reached()).answer },
    { check: 'clock', examine: async () => (await reached()).clock },
    { check: 'replicas', examine: async () => examineReplicas(await directory(), clock) },
    { check: 'admission', examine: async () => examineAdmission(await directory()) },
  ]
}

async function examineRecoveryKey(directory: NodeDirectory): Promise<Diagnosis> {
  if ((await directory.readKey('recovery.key')) === undefined) return ok('not on this machine')
  const remedy = `move ${join(directory.root, 'keys', 'recovery.key')} to somewhere offline: it replaces a stolen node key`
  return warn('still on this machine', remedy)
}

async function examineText(directory: NodeDirectory): Promise<Diagnosis> {
  const { sources } = await directory.read()
  for (const { path } of sources) await requireReadable(path)
  if (sources.length === 0) return fail('no text', 'tapestry dataset add')
  return ok(`${sources.length} sources, in ${[...new Set(sources.map(({ language }) => language))].join(', ')}`)
}

async function examinePolicy(directory: NodeDirectory): Promise<Diagnosis> {
  await readPolicy(directory)
  return ok('the rules are understood')
}

async function examineCertificate(directory: NodeDirectory, clock: Clock): Promise<Diagnosis> {
  await requireMembership(directory)
  const { from, to } = validityOf(parseTlsPem(await requireKey(directory, 'tls.pem')).certificate)
  if (from > clock.now()) return fail('it is not valid yet', 'let NTP set the clock')
  const hours = Math.floor((to - clock.now()) / 3_600_000)
  if (hours < 0) return warn('it has ended', 'tapestry node run gets a new one by itself')
  return ok(`valid for ${hours} more hours; it renews itself`)
}

/** The whole way in, as the node: its certificate, its standing, the database behind. */
async function examineAdmission(directory: NodeDirectory): Promise<Diagnosis> {
  const { node } = await requireMembership(directory)
  await withNode(directory, (channel) => channel.call(RoundService.method.listRounds, { limit: 1 }, IMPATIENT))
  return ok(`the coordinator admits ${node}`)
}

/** Each by itself: a node hides the silence of one as long as another answers. */
async function examineReplicas(directory: NodeDirectory, clock: Clock): Promise<Diagnosis> {
  const addresses = ensureAddresses((await requireMembership(directory)).address)
  const silent: string[] = []
  for (const address of addresses) {
    await withNode(directory, (channel) => reach(channel, clock), [address]).catch(() => silent.push(address.text))
  }
  if (silent.length === 0)
    return ok(addresses.length === 1 ? 'the coordinator is one' : `all ${addresses.length} answer`)
  const detail = `no answer from ${silent.join(', ')}`
  if (silent.length === addresses.length) return fail(detail, 'is this machine online, and the coordinator serving?')
  return warn(detail, 'the node goes on with the others; tell the operator')
}

/** Not the node's own client, which renews certificates. */
async function withNode<T>(
  directory: NodeDirectory,
  use: (channel: Channel) => Promise<T>,
  addresses?: Addresses,
): Promise<T> {
  const to = addresses ?? ensureAddresses((await requireMembership(directory)).address)
  const identity = parseTlsPem(await requireKey(directory, 'tls.pem'))
  const channel = openReplicas(to, await requireKey(directory, 'ca.crt'), identity)
  try {
    return await use(channel)
  } finally {
    channel.close()
  }
}

/** Two findings come from one conversation. */
function once(ask: () => Promise<Reached>): () => Promise<Reached> {
  let answer: Promise<Reached> | undefined
  return () => {
    answer ??= ask()
    return answer
  }
}
