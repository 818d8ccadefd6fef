import { canonicalBytes } from '../src/core/canonical-json.ts'
import { type Digest, digestOf } from '../src/core/digest.ts'
import { TapestryError } from '../src/core/error.ts'
import { ensureRunId } from '../src/core/ids.ts'
import { DOMAINS, privateKeyFromPem, type Signature, signMessage } from '../src/core/signature.ts'
import { MEAN } from '../src/core/strategy.ts'
import { ModelService } from '../src/gen/proto/tapestry/v1/model_pb.ts'
import type { SignedManifest } from '../src/model/attestations.ts'
import { type Manifest, manifestBytes, parseManifest } from '../src/model/manifest.ts'
import type { ModelFile } from '../src/model/model-file.ts'
import type { FakeCoordinator } from './fake-coordinator.ts'

type Released = {
  readonly digest: Digest
  readonly bytes: Uint8Array
  readonly signature: Signature
  readonly attestations: readonly ModelFile[]
}

/** Checkpoints and plans of a fake coordinator. */
export class FakeReleases {
  readonly #fake: FakeCoordinator
  readonly #byRef = new Map<string, Released>()
  readonly plans = new Map<string, Uint8Array>()
  /** Signs instead of the federation's release key. */
  signingKey: string
  /** Makes what a checkpoint that is published from now on is attested by. */
  attest: (signed: SignedManifest) => readonly ModelFile[] = () => []

  constructor(fake: FakeCoordinator) {
    this.#fake = fake
    this.signingKey = fake.releaseKey.privateKey
    fake.unary(ModelService, {
      getCheckpoint: ({ ref }) => {
        const found = this.#byRef.get(ref)
        if (found === undefined) throw new TapestryError('NOT_FOUND', 'no such checkpoint')
        const { keyId, value } = found.signature
        return {
          digest: found.digest,
          manifest: found.bytes,
          signature: { keyId, value: Buffer.from(value, 'base64') },
          attestations: found.attestations.map(({ path, bytes }) => {
            return { path, digest: digestOf(bytes), size: BigInt(bytes.length) }
          }),
        }
      },
      getAttestation: ({ checkpointDigest, path }) => {
        const found = this.#byRef.get(checkpointDigest)?.attestations.find((one) => one.path === path)
        if (found === undefined) throw new TapestryError('NOT_FOUND', 'no such attestation')
        return { content: found.bytes }
      },
      getPlan: ({ digest }) => {
        const plan = this.plans.get(digest)
        if (plan === undefined) throw new TapestryError('NOT_FOUND', 'no such plan')
        return { plan }
      },
    })
  }

  /** Releases files as a version of the run `demo`, under its digest, its version and any further names. */
  publish(version: number, files: Readonly<Record<string, Uint8Array>>, refs: readonly string[] = []): Digest {
    const bytes = manifestBytes(this.#manifest(version, files))
    const digest = digestOf(bytes)
    const signature = signMessage(privateKeyFromPem(this.signingKey), DOMAINS.manifest, bytes)
    const attestations = this.attest({
      manifest: parseManifest(bytes),
      bytes,
      signature: canonicalBytes(signature),
    })
    const released = { digest, bytes, signature, attestations }
    for (const ref of [digest, `demo@${version}`, ...refs]) this.#byRef.set(ref, released)
    return digest
  }

  #manifest(version: number, files: Readonly<Record<string, Uint8Array>>): Manifest {
    return {
      format: 'tapestry-manifest/1',
      federation: this.#fake.federation,
      run: ensureRunId('demo'),
      version,
      round: version,
      parents: [],
      plan: digestOf('plan'),
      base: null,
      strategy: MEAN,
      contributions: [],
      scores: {},
      files: Object.entries(files).map(([path, bytes]) => {
        this.#fake.put(bytes)
        return { path, digest: digestOf(bytes), size: bytes.length }
      }),
    }
  }
}
