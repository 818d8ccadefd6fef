import type { Digest } from '../core/digest.ts'
import type { Summary } from '../model/summary.ts'

/** What a pass over all bytes of a file found. `summary`: when it was asked for. */
export type Reading = { readonly digest: Digest; readonly bytes: number; readonly summary: Summary | undefined }

/**
 * What a pass does with the bytes besides hashing them. `write`: where they go, a descriptor that its owner keeps open
 * until the pass has answered everything it was asked. `hash`: whether these are all bytes of a file, so that hashing
 * them says something. `summarize`: how many bytes will come in all.
 */
export type PassTask = {
  readonly write?: { readonly file: number; readonly position: number }
  readonly hash: boolean
  readonly summarize?: number
}

/** What a thread is asked: `pass` names a pass that is under way. Every question but `drop` is answered. */
export type Question =
  | { readonly kind: 'begin'; readonly id: number; readonly pass: number; readonly task: PassTask }
  | {
      readonly kind: 'block'
      readonly id: number
      readonly pass: number
      readonly block: Uint8Array
      readonly length: number
    }
  | { readonly kind: 'finish'; readonly id: number; readonly pass: number }
  | { readonly kind: 'drop'; readonly pass: number }
  | { readonly kind: 'file'; readonly id: number; readonly path: string; readonly summarize: boolean }

/** `code`: of the system error, such as ENOSPC. */
export type Answer =
  | { readonly id: number; readonly reading?: Reading }
  | { readonly id: number; readonly failure: { readonly message: string; readonly code: string | undefined } }
