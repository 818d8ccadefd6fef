import type { Context } from '../context.ts'
import { ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { GetAttestationRequest } from '../gen/proto/tapestry/v1/model_pb.ts'
import { ATTESTATIONS } from '../model/release-path.ts'

/** One document about a checkpoint, exactly as it was signed. */
export async function getAttestation(context: Context, { checkpointDigest, path }: GetAttestationRequest) {
  const checkpoint = ensureDigest(checkpointDigest)
  const known = ATTESTATIONS.find((one) => one === path)
  const content = known && (await context.store.reader.attestation(checkpoint, known))
  if (content === undefined) {
    throw new TapestryError('NOT_FOUND', `there is no "${path.slice(0, 100)}" about this checkpoint`)
  }
  return { content: Buffer.from(content, 'utf8') }
}
