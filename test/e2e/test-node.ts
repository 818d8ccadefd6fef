import { type KeyObject, randomBytes } from 'node:crypto'
import { type Digest, digestOf } from '../../src/core/digest.ts'
import type { RoundKey } from '../../src/core/ids.ts'
import { DOMAINS, privateKeyFromPem, type Signature, signMessage } from '../../src/core/signature.ts'
import { ArtifactService } from '../../src/gen/proto/tapestry/v1/artifact_pb.ts'
import { ContributionService } from '../../src/gen/proto/tapestry/v1/contribution_pb.ts'
import { RoundService } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import type { TensorSpec } from '../../src/model/tensor.ts'
import { openConnection, requestHead } from '../../src/participant/artifact-connection.ts'
import type { HttpsOrigin } from '../../src/participant/channel.ts'
import type { NodeClient } from '../../src/participant/client.ts'
import { DatasetBook } from '../../src/participant/declare.ts'
import { readText } from '../../src/participant/https-failure.ts'
import { type RunNodeOptions, type RunNodeResult, runNode } from '../../src/participant/loop.ts'
import { type Membership, type NodeDirectory, requireKey } from '../../src/participant/node-directory.ts'
import { readPolicy } from '../../src/participant/policy-file.ts'
import { engineTrainer } from '../../src/participant/trainer.ts'
import { signatureMessage } from '../../src/participant/wire.ts'
import { type Document, documentBytes, type Payload, payloadOf, safetensorsBytes, tensorsOf } from './payload.ts'

/** A round and what it starts from. */
export type Place = { readonly key: RoundKey; readonly base: string }

/** An HTTPS answer. `code`: of the problem document, if it is one. */
export type HttpAnswer = { readonly status: number; readonly code: string | undefined; readonly body: string }

/** The coordinator's answer to a submission: `reason` is undefined when it was accepted. */
export type SubmissionAnswer = { readonly reason: string | undefined; readonly contribution: string }

const TINY_BACKOFF = { baseMs: 20, capMs: 200, random: () => 0.5 }

/** An enrolled node that tests drive by hand, step by step, or run as the product runs it. */
export class TestNode {
  readonly name: string
  readonly directory: NodeDirectory
  readonly client: NodeClient
  readonly key: KeyObject
  readonly language: string
  /** Digest of the record that declares its text, registered. */
  readonly record: Digest
  readonly #clock: RunNodeOptions['clock']

  private constructor(
    parts: Pick<TestNode, 'name' | 'directory' | 'client' | 'key' | 'language' | 'record'>,
    clock: RunNodeOptions['clock'],
  ) {
    this.name = parts.name
    this.directory = parts.directory
    this.client = parts.client
    this.key = parts.key
    this.language = parts.language
    this.record = parts.record
    this.#clock = clock
  }

  static async open(directory: NodeDirectory, client: NodeClient, clock: RunNodeOptions['clock']): Promise<TestNode> {
    const { name, sources } = await directory.read()
    const key = privateKeyFromPem(await requireKey(directory, 'node.key'))
    const book = new DatasetBook({ directory, client, nodeKey: key, policy: await readPolicy(directory) })
    const [declared] = (await book.declare(new AbortController().signal)) ?? []
    if (declared === undefined) throw new Error('the node has declared no text')
    const language = sources[0]?.language ?? ''
    return new TestNode({ name, directory, client, key, language, record: declared.digest }, clock)
  }

  get membership(): Membership {
    return this.client.membership
  }

  get id(): Membership['node'] {
    return this.client.membership.node
  }

  /** The participant's own loop, with the real trainer. */
  run(options: Partial<RunNodeOptions> = {}): Promise<RunNodeResult> {
    const { directory, client } = this
    const usual = { directory, client, trainer: engineTrainer(), clock: this.#clock, backoff: TINY_BACKOFF }
    return runNode({ ...usual, signal: new AbortController().signal, ...options })
  }

  async join(key: RoundKey): Promise<void> {
    await this.client.call(RoundService.method.joinRound, { ref: key })
  }

  /** A harmless delta of this node's own: no two nodes' are the same bytes. */
  delta(specs: readonly TensorSpec[]): Payload {
    const scale = 1 + Number.parseInt(this.id.slice(-6), 16) / 65_536
    return payloadOf(safetensorsBytes(tensorsOf(specs, () => scale * 1e-6)))
  }

  announce(digest: string, size: number) {
    return this.client.call(ArtifactService.method.announceArtifact, { digest, size: BigInt(size) })
  }

  /** Announces and sends a whole payload. */
  async upload(payload: Payload): Promise<HttpAnswer> {
    const { complete } = await this.announce(payload.digest, payload.bytes.length)
    if (complete) return { status: 201, code: undefined, body: '' }
    return putBytes(this.client.https, payload.digest, payload.bytes, { size: payload.bytes.length })
  }

  /** What this node would say about a payload in a round. */
  claim({ key, base }: Place, payload: Payload): Document {
    const score = (mean: number) => ({ mean, standardError: 0.01, tokens: 100 })
    return {
      format: 'tapestry-contribution/1',
      federation: this.membership.federation,
      run: key.run,
      round: key.number,
      node: this.id,
      baseDigest: base,
      payloadDigest: payload.digest,
      payloadBytes: payload.bytes.length,
      nonce: randomBytes(16).toString('hex'),
      languages: [
        { language: this.language, community: '', tokens: 64, documents: 2, before: score(5.5), after: score(5.4) },
      ],
      records: [{ digest: this.record, languages: [{ language: this.language, tokens: 64 }] }],
    }
  }

  sign(bytes: Uint8Array, domain: (typeof DOMAINS)[keyof typeof DOMAINS] = DOMAINS.contribution): Signature {
    return signMessage(this.key, domain, bytes)
  }

  /** Hands a manifest in, signed by this node unless another signature is given. */
  async submit(manifest: Uint8Array, signature = this.sign(manifest)): Promise<SubmissionAnswer> {
    const { contribution, rejection } = await this.client.call(ContributionService.method.submitContribution, {
      manifest,
      signature: signatureMessage(signature),
    })
    return { reason: rejection?.reason, contribution }
  }

  /** Everything that a good node does while a round collects. */
  async contribute(place: Place, specs: readonly TensorSpec[]): Promise<SubmissionAnswer> {
    const payload = this.delta(specs)
    await this.upload(payload)
    return this.submit(documentBytes(this.claim(place, payload)))
  }

  /** What this node would say about a candidate: a little better than the base. */
  review({ key, base }: Place, candidate: string): Document {
    const score = (mean: number) => ({ mean, standardError: 0.01, tokens: 100 })
    return {
      format: 'tapestry-evaluation/1',
      federation: this.membership.federation,
      run: key.run,
      round: key.number,
      node: this.id,
      baseDigest: base,
      candidateDigest: candidate,
      languages: [{ language: this.language, community: '', base: score(5.5), candidate: score(5.4) }],
    }
  }

  /** Hands an evaluation in. @returns the reason when it was refused. */
  async report(bytes: Uint8Array, signature = this.sign(bytes, DOMAINS.evaluation)): Promise<string | undefined> {
    const { rejection } = await this.client.call(ContributionService.method.submitEvaluation, {
      report: bytes,
      signature: signatureMessage(signature),
    })
    return rejection?.reason
  }

  close(): void {
    this.client.close()
  }
}

/**
 * One PUT, as raw as HTTP allows.
 * @param part `start`: where the bytes begin; `size`: what is said to be the whole; `length`: the Content-Length.
 */
export async function putBytes(
  origin: HttpsOrigin,
  digest: Digest | string,
  bytes: Buffer,
  part: { readonly start?: number; readonly size: number },
): Promise<HttpAnswer> {
  const start = part.start ?? 0
  return ask(origin, `PUT /v1/artifacts/${digest} HTTP/1.1`, bytes, {
    'Content-Length': bytes.length,
    'Content-Range': `bytes ${start}-${start + bytes.length - 1}/${part.size}`,
    Connection: 'close',
  })
}

/** One GET of a whole artifact. */
export async function getBytes(origin: HttpsOrigin, digest: Digest | string): Promise<HttpAnswer> {
  return ask(origin, `GET /v1/artifacts/${digest} HTTP/1.0`, Buffer.alloc(0), {})
}

async function ask(
  origin: HttpsOrigin,
  line: string,
  bytes: Buffer,
  headers: Record<string, string | number>,
): Promise<HttpAnswer> {
  const connection = openConnection(origin, undefined)
  // A refusal may come before the last byte has left.
  connection
    .write(requestHead(origin, line, headers))
    .then(() => connection.write(bytes))
    .catch(() => undefined)
  const { status, body } = await connection.answered
  const text = await readText(body)
  if (status < 300) return { status, code: undefined, body: '' }
  const problem: unknown = JSON.parse(text)
  const code = typeof problem === 'object' && problem !== null && 'code' in problem ? String(problem.code) : undefined
  return { status, code, body: text }
}

/** The id that the coordinator gives to a manifest. */
export function contributionIdOf(manifest: Uint8Array): Digest {
  return digestOf(manifest)
}
