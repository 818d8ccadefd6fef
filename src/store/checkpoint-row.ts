import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import type { ChannelName, NodeId, RoundKey, RunId } from '../core/ids.ts'
import type { Signature } from '../core/signature.ts'
import type { RevocationMode, RevocationPlan } from '../policy/revocation.ts'
import type { RevocationState } from '../round/revocation.ts'

export type CheckpointFileRow = { readonly path: string; readonly digest: Digest; readonly size: number }

/** A document about a checkpoint; `content` is JSON. */
export type AttestationRow = CheckpointFileRow & { readonly content: string }

export type CheckpointRow = {
  readonly digest: Digest
  readonly run: RunId
  readonly version: number
  /** 0 for the initial checkpoint. */
  readonly round: number
  readonly parent: Digest | null
  /** Canonical JSON. */
  readonly manifest: string
  readonly signature: Signature
  readonly files: readonly CheckpointFileRow[]
  readonly createdAt: Millis
  /** The revocation that superseded it; absent while it stands. */
  readonly revocation?: number
}

/** A checkpoint on a line of descent. */
export type LineRow = Pick<CheckpointRow, 'digest' | 'version' | 'round' | 'parent'>

/** A revocation is addressed by its run and its number there, counted from 1. */
export type RevocationRow = {
  readonly key: RoundKey
  readonly mode: RevocationMode
  readonly requestedBy: NodeId | 'operator'
  readonly reason: string
  readonly plan: RevocationPlan
  readonly state: RevocationState
  /** Null before it is signed, and when nothing is superseded. */
  readonly notice: { readonly text: string; readonly signature: Signature } | null
  readonly createdAt: Millis
  readonly updatedAt: Millis
}

export type ChannelRow = {
  readonly name: ChannelName
  readonly checkpoint: Digest
  readonly run: RunId
  readonly version: number
  readonly updatedAt: Millis
}
