import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import {
  create,
  createFileRegistry,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TapestryError } from '../../src/core/error.ts'
import type { RequestInit } from '../../src/core/grpc-service.ts'
import { EnrollmentService } from '../../src/gen/proto/tapestry/v1/enrollment_pb.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import type { CallOptions, ServerStreamMethod, UnaryMethod } from '../../src/participant/calls.ts'
import { type NodeClient, openNodeClient } from '../../src/participant/client.ts'
import { TestNetwork } from '../network.ts'
import { TestNode } from './test-node.ts'

/** The protocol of the last release, as `buf build` writes it: made anew when a release is made. */
const PREVIOUS = fileURLToPath(new URL('../vectors/proto/previous.binpb', import.meta.url))
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(PREVIOUS)))

/** What an older program makes of a message: fields that it does not know are not there. */
function asBefore<D extends DescMessage>(desc: D, message: MessageShape<D>): MessageShape<D> {
  const older = registry.getMessage(desc.typeName)
  // What a coordinator without the method answers.
  if (older === undefined) throw new TapestryError('FAILED_PRECONDITION', `${desc.typeName} is newer`)
  const read = fromBinary(older, toBinary(desc, message), { readUnknownFields: false })
  return fromBinary(desc, toBinary(older, read))
}

/** A node's client that says and hears what the last protocol has. */
function olderClient(client: NodeClient): NodeClient {
  const sent = <M extends DescMethod>(method: M, request: RequestInit<M>) =>
    asBefore<M['input']>(method.input, create<M['input']>(method.input, request))
  return {
    ...client,
    get https() {
      return client.https
    },
    async call<M extends UnaryMethod>(method: M, request: RequestInit<M>, options?: CallOptions) {
      return asBefore<M['output']>(method.output, await client.call(method, sent(method, request), options))
    },
    async *receive<M extends ServerStreamMethod>(method: M, request: RequestInit<M>, options?: CallOptions) {
      for await (const message of client.receive(method, sent(method, request), options)) {
        yield asBefore<M['output']>(method.output, message)
      }
    },
  }
}

let network: TestNetwork

beforeAll(async () => {
  network = await TestNetwork.create({ participants: 2 })
})

afterAll(() => network?.close())

describe('the protocol', () => {
  test('breaks nothing of the last one', () => {
    const buf = fileURLToPath(new URL('../../node_modules/.bin/buf', import.meta.url))
    const { status, stdout } = spawnSync(buf, ['breaking', '--against', PREVIOUS], { cwd: ROOT, encoding: 'utf8' })
    expect(stdout).toBe('')
    expect(status).toBe(0)
  })
})

describe('a node that speaks the last protocol', () => {
  test('does not see what is newer', async () => {
    const response = await network.channel().call(EnrollmentService.method.getFederation, {})
    expect(response.version).not.toBe('')
    expect(asBefore(EnrollmentService.method.getFederation.output, response).version).toBe('')
  })

  test('takes part in a round from joining to release, beside a present one', async () => {
    const [present, other] = network.nodes
    const client = olderClient(await openNodeClient(other!.directory, network.clock))
    const older = await TestNode.open(other!.directory, client, network.clock)
    try {
      const { key } = await network.startRound()
      const stop = new AbortController()
      const running = [present!, older].map((node) => node.run({ signal: stop.signal }))
      expect((await network.roundEnded(key)).round?.phase).toBe(RoundPhase.PUBLISHED)
      expect((await network.round(key)).contributions).toHaveLength(2)
      stop.abort()
      await Promise.all(running)
    } finally {
      client.close()
    }
  })
})
