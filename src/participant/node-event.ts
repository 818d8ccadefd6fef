import type { Codec } from '../core/codec.ts'
import type { Digest } from '../core/digest.ts'
import type { TapestryError } from '../core/error.ts'
import type { RoundKey } from '../core/ids.ts'
import type { LanguageReport } from '../model/contribution-manifest.ts'
import type { LanguageEvaluation } from '../model/evaluation-report.ts'
import type { Rule } from '../policy/node-policy.ts'
import type { Action } from './next-action.ts'
import type { RoundView } from './round-view.ts'
import type { Progress } from './trainer.ts'

type OfRound = { readonly key: RoundKey }

/** What a running node tells whoever watches it. Nothing here leaves the machine by itself. */
export type NodeEvent =
  | { readonly type: 'connected' }
  /** The coordinator cannot be reached; work that needs no network goes on. */
  | { readonly type: 'disconnected'; readonly error: TapestryError; readonly retryInMs: number }
  | { readonly type: 'certificate-renewed' }
  /** Something about a round changed. */
  | (OfRound & { readonly type: 'round'; readonly view: RoundView })
  | (OfRound & { readonly type: 'joined' })
  | (OfRound & { readonly type: 'downloading' | 'uploading'; readonly done: number; readonly total: number })
  | (OfRound & { readonly type: 'training'; readonly progress: Progress })
  /** `reused`: the work was done before a restart. */
  | (OfRound & {
      readonly type: 'trained'
      readonly languages: readonly LanguageReport[]
      readonly steps: number
      readonly wallMs: number
      readonly bytes: number
      readonly reused: boolean
      /** What the node's own policy kept from training. */
      readonly excluded: { readonly files: number; readonly documents: number }
    })
  /** `f32Bytes`: what the update would take as F32. */
  | (OfRound & {
      readonly type: 'uploaded'
      readonly bytes: number
      readonly codec: Codec
      readonly f32Bytes: number
    })
  /** `index`: where the federation's log records it, as its receipt proves; undefined without a receipt. */
  | (OfRound & { readonly type: 'accepted'; readonly contribution: Digest; readonly index: number | undefined })
  /** A dataset that the round may not use; the node takes part with the others. */
  | (OfRound & {
      readonly type: 'dataset-excluded'
      readonly dataset: string
      readonly reason: string
      readonly detail: string
    })
  /** The node itself refuses, by its policy or for want of data that may be used; kept in its record of refusals. */
  | (OfRound & { readonly type: 'declined'; readonly rule: Rule; readonly detail: string })
  /** The node's people want no part in the round; the coordinator knows. */
  | (OfRound & { readonly type: 'stood-aside' })
  /** Told once; the node does not try again in this round. */
  | (OfRound & {
      readonly type: 'refused'
      readonly what: 'contribution' | 'review' | 'evaluation'
      readonly reason: string
      readonly detail: string
    })
  | (OfRound & { readonly type: 'reviewed'; readonly contributions: number })
  | (OfRound & { readonly type: 'evaluated'; readonly languages: readonly LanguageEvaluation[] })
  /** A passing failure: the same action is tried again. */
  | (OfRound & {
      readonly type: 'retrying'
      readonly action: Action
      readonly error: TapestryError
      readonly retryInMs: number
    })
  /** The round moved on while the node was at work. */
  | (OfRound & { readonly type: 'too-late'; readonly action: Action })
  /** The action failed for good; the node waits for the round's next phase. */
  | (OfRound & { readonly type: 'set-aside'; readonly action: Action; readonly error: TapestryError })
  | (OfRound & { readonly type: 'published'; readonly checkpoint: Digest; readonly last: boolean })
  | (OfRound & { readonly type: 'rejected' | 'failed'; readonly reason: string; readonly last: boolean })
  /** The coordinator sent something that makes no sense. */
  | { readonly type: 'ignored'; readonly error: TapestryError }
