import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createProgram } from '../../src/cli/program.ts'
import { type Codec, F32, parseCodecText } from '../../src/core/codec.ts'
import { ensureDigest } from '../../src/core/digest.ts'
import { RoundPhase } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { parseManifest } from '../../src/model/manifest.ts'
import { encodeHeader, inNameOrder } from '../../src/model/safetensors.ts'
import { encodeTensor } from '../../src/model/update-codec/encode-tensor.ts'
import { encodedMetadata, encodedSpecs } from '../../src/model/update-codec/encoded-layout.ts'
import { TestNetwork } from '../network.ts'
import { documentBytes, payloadOf } from './payload.ts'

let network: TestNetwork
beforeAll(async () => {
  network = await TestNetwork.create({ participants: 2 })
})
afterAll(() => network?.close())

/** An update of small values, other for each node, as a node would encode it. */
function encoded(codec: Codec, index: number): Buffer {
  const parts = new Map(
    network.tensors.flatMap(({ name, shape }) => {
      const count = shape.reduce((product, size) => product * size, 1)
      const values = Float32Array.from({ length: count }, (_, at) => 1e-4 * (((at * 17 + index * 5) % 101) / 101 - 0.5))
      return [...encodeTensor(codec, name, values).parts]
    }),
  )
  const specs = encodedSpecs(codec, network.tensors)
  const data = inNameOrder(specs).map(({ name }) => {
    const { buffer, byteOffset, byteLength } = parts.get(name)!
    return Buffer.from(buffer, byteOffset, byteLength)
  })
  return Buffer.concat([encodeHeader(specs, encodedMetadata(codec)), ...data])
}

async function tapestry(...words: string[]): Promise<Record<string, unknown>> {
  let text = ''
  const stdout = { write: (more: string) => (text += more) }
  const stderr = { write: () => true }
  const io = { stdout, stderr, env: {}, clock: network.clock, stopSignal: () => AbortSignal.timeout(60_000) }
  const program = await createProgram(words, io)
  await program.parseAsync([...words, '--json'], { from: 'user' })
  return JSON.parse(text)
}

describe.each(['bf16', 'int8:block=64', 'topk:fraction=0.05'])('%s', (text) => {
  const codec = parseCodecText(text)

  test('is the only codec that the run takes, and is merged, released and replayed', async () => {
    const run = await network.createRun(`${codec.name}-micro`, { codec, rounds: 1 })
    const place = await network.startRound(run)
    for (const node of network.nodes) await node.join(place.key)
    for (const [index, node] of network.nodes.entries()) {
      const other = payloadOf(encoded(F32, index))
      await node.upload(other)
      expect((await node.submit(documentBytes(node.claim(place, other)))).reason).toBe('CODEC_MISMATCH')
      const payload = payloadOf(encoded(codec, index))
      await node.upload(payload)
      expect((await node.submit(documentBytes(node.claim(place, payload)))).reason).toBeUndefined()
    }
    const { round: merged } = await network.roundIn(place.key, RoundPhase.EVALUATING)
    for (const node of network.nodes) {
      await node.report(documentBytes(node.review(place, merged?.candidateDigest ?? '')))
    }
    const { round: ended } = await network.roundEnded(place.key)
    expect(ended).toMatchObject({ phase: RoundPhase.PUBLISHED, codec })
    const row = await network.store.reader.checkpoint(ensureDigest(ended?.checkpointDigest ?? ''))
    expect(parseManifest(Buffer.from(row?.manifest ?? '', 'utf8')).codec).toEqual(codec)
    const elsewhere = ['--address', network.address, '--credentials', join(network.directory, 'keys')]
    expect(await tapestry('replay', `${run}@1`, ...elsewhere)).toMatchObject({ replayed: true })
    const shown = await tapestry('round', 'inspect', `${run}/1`, '--dir', network.directory)
    expect(shown).toMatchObject({ codec, updates: { count: 2, bytes: 2 * encoded(codec, 0).byteLength } })
  })
})
