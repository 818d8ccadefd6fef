import { canonicalBytes } from '../core/canonical-json.ts'
import { ModelService } from '../gen/proto/tapestry/v1/model_pb.ts'
import { verifyAttestations } from '../model/attestations.ts'
import type { FederationRecord } from '../model/federation-record.ts'
import type { ModelFile } from '../model/model-file.ts'
import type { Channel } from './channel.ts'
import type { OfferedRelease } from './release.ts'

/**
 * Fetches what a coordinator offers besides a checkpoint's files, and proves that it belongs to the checkpoint.
 * @returns nothing for a checkpoint, or a coordinator, from before attestations were made.
 * @throws TapestryError VERIFICATION_FAILED naming the file; UNAVAILABLE.
 */
export async function fetchAttestations(
  channel: Channel,
  release: OfferedRelease,
  federation: FederationRecord,
  signal?: AbortSignal,
): Promise<readonly ModelFile[]> {
  const files: ModelFile[] = []
  for (const path of release.attestations) {
    const request = { checkpointDigest: release.digest, path }
    const { content } = await channel.call(ModelService.method.getAttestation, request, { signal })
    files.push({ path, bytes: content })
  }
  const signed = { ...release, signature: canonicalBytes(release.signature) }
  verifyAttestations(signed, new Map(files.map(({ path, bytes }) => [path, bytes])), federation.releaseKeys)
  return files
}
