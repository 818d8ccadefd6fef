import type { Context } from '../context.ts'
import { ensureDigest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { ensureChannelName, ensureRunId } from '../core/ids.ts'
import type { GetCheckpointRequest } from '../gen/proto/tapestry/v1/model_pb.ts'
import type { SignedSupersession } from '../model/supersession.ts'
import type { CheckpointRow } from '../store/checkpoint-row.ts'
import type { Reader } from '../store/reader.ts'
import { signatureMessage } from './message.ts'

/** One checkpoint's signed manifest and what else there is to fetch, by digest, by channel, or as run@version. */
export async function getCheckpoint(context: Context, request: GetCheckpointRequest) {
  const row = await find(context.store.reader, request.ref)
  if (row === undefined) {
    throw new TapestryError('NOT_FOUND', `there is no checkpoint "${request.ref.slice(0, 100)}"`, {
      hint: 'tapestry models ls shows channels and checkpoints',
    })
  }
  const { reader } = context.store
  const attestations = await reader.attestations(row.digest)
  const { run, revocation: number } = row
  const revocation = number === undefined ? undefined : await reader.revocation({ run, number })
  return {
    digest: row.digest,
    manifest: Buffer.from(row.manifest, 'utf8'),
    signature: signatureMessage(row.signature),
    attestations: attestations.map(({ path, digest, size }) => ({ path, digest, size: BigInt(size) })),
    superseded: row.revocation !== undefined,
    ...(revocation?.notice && { notice: noticeMessage(revocation.notice) }),
  }
}

function noticeMessage({ text, signature }: SignedSupersession) {
  return { notice: Buffer.from(text, 'utf8'), signature: signatureMessage(signature) }
}

async function find(reader: Reader, ref: string): Promise<CheckpointRow | undefined> {
  if (ref.startsWith('sha256:')) return reader.checkpoint(ensureDigest(ref))
  const at = ref.lastIndexOf('@')
  if (at > 0) return reader.checkpointByVersion(ensureRunId(ref.slice(0, at)), versionOf(ref.slice(at + 1)))
  const channel = await reader.channel(ensureChannelName(ref))
  return channel === undefined ? undefined : reader.checkpoint(channel.checkpoint)
}

function versionOf(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new TapestryError('INVALID_ARGUMENT', `not a version: "${text.slice(0, 20)}" (expected a whole number from 0)`)
}
