import { cp, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { ensureAddress } from '../../src/participant/address.ts'
import { type Channel, openChannel } from '../../src/participant/channel.ts'
import { digestOfFile } from '../../src/participant/file-digest.ts'
import { requireKey } from '../../src/participant/node-directory.ts'
import { parseTlsPem } from '../../src/participant/tls-credential.ts'
import { TestNetwork } from '../network.ts'
import { freePort } from '../redis.ts'
import { hasSeaweed, S3_CREDENTIALS, TestS3, WITHOUT_SEAWEED } from '../seaweed.ts'
import { documentBytes } from './payload.ts'
import { Service, tapestry } from './processes.ts'
import { TestNode } from './test-node.ts'

describe.skipIf(!hasSeaweed)(`two replicas on one bucket${WITHOUT_SEAWEED}`, () => {
  let server: TestS3
  /** The first replica and a worker, in this process. */
  let network: TestNetwork
  /** The second replica: a process with a directory of its own, to be killed. */
  let second: Service
  let secondPort: number
  const channels: Channel[] = []

  beforeAll(async () => {
    server = await TestS3.start()
    await server.makeBucket('federation')
    network = await TestNetwork.create({ participants: 2, settings: { storage: storage() } })
    await cp(network.directory, join(network.root, 'second'), { recursive: true })
    secondPort = await freePort()
    await startSecond()
  })

  afterAll(async () => {
    for (const channel of channels) channel.close()
    await second?.kill()
    await network?.close()
    await server?.stop()
  })

  const storage = () => server.setting('federation', 'blobs')

  async function startSecond(): Promise<void> {
    const env = { ...S3_CREDENTIALS, DATABASE_URL: network.parts.databaseUrl, TAPESTRY_STORAGE: storage() }
    const at = ['--dir', join(network.root, 'second'), '--port', String(secondPort), '--workers', '0']
    second = new Service('second replica', ['coordinator', 'serve', ...at], { home: network.root, env })
    await second.line('serves', (line) => 'address' in line)
  }

  /** The same node, by way of the second replica alone. */
  async function atSecond({ directory, membership }: TestNode): Promise<TestNode> {
    const identity = parseTlsPem(await requireKey(directory, 'tls.pem'))
    const address = ensureAddress(`127.0.0.1:${secondPort}`)
    const channel = openChannel(address, await requireKey(directory, 'ca.crt'), identity)
    channels.push(channel)
    return TestNode.open(directory, { ...channel, membership, renewIfDue: async () => false }, network.clock)
  }

  /** Digest of the weights that a stranger gets, who checks signature and log, from one replica. */
  async function pulled(name: string, address: string): Promise<string> {
    // A home for each: nothing that the other pull left is there to be used.
    const home = join(network.root, 'strangers', name)
    await mkdir(home, { recursive: true })
    const output = join(home, 'pulled')
    const args = ['pull', 'run@1', '--output', output, '--from', address, '--trust', network.federation]
    const { code, stderr } = await tapestry(args, { home })
    if (code !== 0) throw new Error(`pull from ${name} ended with ${code}: ${stderr}`)
    return (await digestOfFile(join(output, 'model.safetensors'))).digest
  }

  test('publish a round whose parts came by either, one of them killed in its middle', async () => {
    const [one, two] = network.nodes as [TestNode, TestNode]
    const place = await network.startRound()
    await one.join(place.key)
    const twoAtSecond = await atSecond(two)
    await twoAtSecond.join(place.key)

    const ofOne = one.delta(network.tensors)
    expect(await one.upload(ofOne)).toMatchObject({ status: 201 })
    const oneAtSecond = await atSecond(one)
    const accepted = await oneAtSecond.submit(documentBytes(one.claim(place, ofOne)))
    expect(accepted.reason).toBeUndefined()
    const ofTwo = two.delta(network.tensors)
    expect(await twoAtSecond.upload(ofTwo)).toMatchObject({ status: 201 })
    await second.kill()

    expect((await two.submit(documentBytes(two.claim(place, ofTwo)))).reason).toBeUndefined()
    const { round: merged } = await network.roundIn(place.key, RoundPhase.EVALUATING)
    const candidate = merged?.candidateDigest ?? ''
    const held = (await network.store.reader.contributions(place.key)).map(({ payload }) => payload)
    expect(held.toSorted()).toEqual([ofOne.digest, ofTwo.digest].toSorted())
    expect(await two.report(documentBytes(two.review(place, candidate)))).toBeUndefined()
    await startSecond()
    const oneAgain = await atSecond(one)
    expect(await oneAgain.report(documentBytes(one.review(place, candidate)))).toBeUndefined()

    const { round } = await network.roundEnded(place.key)
    expect(round?.phase).toBe(RoundPhase.PUBLISHED)
    const weights = [await pulled('first', network.address), await pulled('second', `127.0.0.1:${secondPort}`)]
    expect(weights).toEqual([candidate, candidate])
  })
})
