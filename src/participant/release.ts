import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { DOMAINS, publicKeyFromPem, type Signature, verifyMessage } from '../core/signature.ts'
import { ModelService } from '../gen/proto/tapestry/v1/model_pb.ts'
import type { FederationRecord } from '../model/federation-record.ts'
import { type Manifest, parseManifest } from '../model/manifest.ts'
import { ATTESTATIONS, type AttestationPath } from '../model/release-path.ts'
import { verifyReleasedOverride } from '../model/released-override.ts'
import type { Channel } from './channel.ts'
import { requireSignature } from './wire.ts'

/** A checkpoint's manifest that a release key of the federation has signed. */
export type Release = {
  readonly digest: Digest
  readonly manifest: Manifest
  readonly bytes: Uint8Array
  readonly signature: Signature
}

/** With the attestations that the coordinator offers, those that this build knows; nothing about them is proven yet. */
export type OfferedRelease = Release & { readonly attestations: readonly AttestationPath[] }

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
  return { ...release, attestations: ATTESTATIONS.filter((path) => offered.has(path)) }
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
