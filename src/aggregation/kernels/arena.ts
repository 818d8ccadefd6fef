import { TapestryError } from '../../core/error.ts'
import { KERNELS } from '../../gen/kernels/kernels.ts'
import { type Arena, KERNEL_NAMES, type Kernels } from './kernels.ts'

const PAGE_BYTES = 65_536
/** Offsets are 32 bits wide. */
const MAX_PAGES = 65_536

let compiled: WebAssembly.Module | undefined

/**
 * A zeroed linear memory of at least `bytes`, with its kernels.
 * @throws TapestryError RESOURCE_EXHAUSTED beyond 4 GiB, or when the system has no such memory
 */
export function createArena(bytes: number): Arena {
  const pages = Math.max(1, Math.ceil(bytes / PAGE_BYTES))
  if (!(pages <= MAX_PAGES)) throw new TapestryError('RESOURCE_EXHAUSTED', `${bytes} bytes do not fit an arena`)
  const memory = allocate(pages)
  compiled ??= new WebAssembly.Module(Buffer.from(KERNELS, 'base64'))
  const { exports } = new WebAssembly.Instance(compiled, { env: { memory } })
  if (!areKernels(exports)) throw new TapestryError('INTERNAL', 'the kernels are of another version: build them again')
  return { buffer: memory.buffer, kernels: exports }
}

function allocate(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages })
  } catch (cause) {
    throw new TapestryError('RESOURCE_EXHAUSTED', `no memory for an arena of ${pages * PAGE_BYTES} bytes`, { cause })
  }
}

function areKernels(exports: object): exports is Kernels {
  const functions = new Map<string, unknown>(Object.entries(exports))
  return KERNEL_NAMES.every((name) => typeof functions.get(name) === 'function')
}
