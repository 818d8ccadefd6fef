import type { SafetensorsHeader, TensorEntry } from './safetensors-header.ts'

/** A value that is not finite: where it is, as a flat index, and what it is. */
export type NonFinite = { readonly index: number; readonly value: 'NaN' | 'Infinity' | '-Infinity' }

/**
 * What the values of one tensor are like. `squares`: the sum of their squares; null when one is not
 * finite, and for element types that are not looked into. `nonFinite`: the first such value. Of encoded
 * tensors `squares` is that of what they decode to; `malformed`: the first element that no encoder makes;
 * `lastIndex`: of indices, the largest.
 */
export type TensorFacts = {
  readonly squares: number | null
  readonly nonFinite: NonFinite | null
  readonly malformed?: string | undefined
  readonly lastIndex?: number | undefined
}

/** Looks at the bytes of one tensor as they arrive, in pieces of any size. */
export type TensorScan = { push(bytes: Uint8Array): void; finish(): TensorFacts }

/**
 * How the tensors of a file are looked at, chosen from its header: an encoding that names itself in
 * the metadata brings a scan of its own. The scans of one file are made in file order, each when its
 * tensor begins, so one may use what those before it found.
 */
export type TensorScans = (header: SafetensorsHeader) => (entry: TensorEntry) => TensorScan
