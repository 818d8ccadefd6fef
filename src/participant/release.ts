import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { DOMAINS, publicKeyFromPem, type Signature, verifyMessage } from '../core/signature.ts'
import { ModelService } from '../gen/proto/tapestry/v1/model_pb.ts'
import type { SupersessionNotice } from '../gen/proto/tapestry/v1/revocation_pb.ts'
import type { FederationRecord } from '../model/federation-record.ts'
import { type Manifest, parseManifest } from '../model/manifest.ts'
import { ATTESTATIONS, type AttestationPath } from '../model/release-path.ts'
import { verifyReleasedOverride } from '../model/released-override.ts'
import { type SignedSupersession, supersededError, verifySupersession } from '../model/supersession.ts'
import type { Channel } from './channel.ts'
import { requireSignature } from './wire.ts'

/** A checkpoint's manifest that a release key of the federation has signed. */
export type Release = {
  readonly digest: Digest
  readonly manifest: Manifest
  readonly bytes: Uint8Array
  readonly signature: Signature
}

/**
 * With the attestations that the coordinator offers, those that this build knows; nothing about them is proven yet.
 * `superseded`: a revocation took it back; `notice`: the proof of that, which has been checked.
 */
export type OfferedRelease = Release & {
  readonly attestations: readonly AttestationPath[]
  readonly superseded: boolean
  readonly notice: SignedSupersession | undefined
}

/**
 * Fetches a checkpoint's manifest and proves it before anything it names is fetched.
 * @param ref a manifest digest, a channel name, or run@version.
 * @throws TapestryError NOT_FOUND; VERIFICATION_FAILED for another checkpoint, federation or key than was asked for.
 */
export async function fetchRelease(
  channel: Channel,
  ref: string,
  federation: FederationRecord,
  signal?: AbortSignal,
): Promise<OfferedRelease> {
  const response = await channel.call(ModelService.method.getCheckpoint, { ref }, { signal })
  const signature = requireSignature(response.signature, 'the checkpoint')
  const release = verifyRelease(response.manifest, signature, federation)
  if (response.digest !== release.digest || !answers(ref, release)) {
    throw new TapestryError('VERIFICATION_FAILED', `the coordinator answered "${ref}" with another checkpoint`)
  }
  const offered = new Set(response.attestations.map(({ path }) => path))
  const notice = response.notice && verifyNotice(response.notice, release, federation)
  const superseded = response.superseded || notice !== undefined
  return { ...release, attestations: ATTESTATIONS.filter((path) => offered.has(path)), superseded, notice }
}

/** @throws TapestryError VERIFICATION_FAILED for a notice that is not by the federation, or not about this checkpoint. */
function verifyNotice(message: SupersessionNotice, { digest }: Release, federation: FederationRecord) {
  const signature = requireSignature(message.signature, 'the notice')
  const notice = { text: Buffer.from(message.notice).toString('utf8'), signature }
  if (verifySupersession(notice, federation.releaseKeys, federation.id).superseded.includes(digest)) return notice
  throw new TapestryError('VERIFICATION_FAILED', 'the coordinator sent a notice about other checkpoints')
}

/** @throws TapestryError VERIFICATION_FAILED for a checkpoint that was taken back. */
export function refuseSuperseded({ superseded, notice, digest }: OfferedRelease, federation: FederationRecord): void {
  if (!superseded) return
  const how = 'or ask for superseded checkpoints too: --allow-superseded'
  if (notice) throw supersededError(verifySupersession(notice, federation.releaseKeys, federation.id), how)
  throw new TapestryError('VERIFICATION_FAILED', `${digest} is superseded: a revocation took it back`, { hint: how })
}

/** Proves a manifest by its signature. @throws TapestryError VERIFICATION_FAILED */
export function verifyRelease(bytes: Uint8Array, signature: Signature, federation: FederationRecord): Release {
  const key = federation.releaseKeys.find(({ keyId }) => keyId === signature.keyId)
  if (key === undefined || !verifyMessage(publicKeyFromPem(key.publicKey), DOMAINS.manifest, bytes, signature)) {
    throw new TapestryError('VERIFICATION_FAILED', 'the checkpoint is not signed by a release key of the federation')
  }
  const manifest = parseManifest(bytes)
  if (manifest.federation !== federation.id) {
    throw new TapestryError('VERIFICATION_FAILED', 'the checkpoint belongs to another federation')
  }
  verifyReleasedOverride(manifest, federation)
  return { digest: digestOf(bytes), manifest, bytes, signature }
}

/** Digests and versions name one checkpoint for ever; a channel may point anywhere. */
function answers(ref: string, { digest, manifest }: Release): boolean {
  if (ref.startsWith('sha256:')) return ref === digest
  const at = ref.lastIndexOf('@')
  return at <= 0 || (manifest.run === ref.slice(0, at) && manifest.version === Number(ref.slice(at + 1)))
}
