import type { Arena } from './kernels.ts'
import { referenceMergeKernels } from './reference.ts'

const PAGE_BYTES = 65_536

/** A zeroed linear memory of at least `bytes`, with its kernels. */
export function createArena(bytes: number): Arena {
  const buffer = new ArrayBuffer(Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES)
  return { buffer, kernels: referenceMergeKernels(buffer) }
}
