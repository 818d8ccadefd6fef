import { createHash } from 'node:crypto'
import { TapestryError } from './error.ts'

declare const digestBrand: unique symbol

/** A SHA-256 content address, written `sha256:<64 lowercase hex>`. */
export type Digest = string & { readonly [digestBrand]: true }

const PATTERN = /^sha256:[0-9a-f]{64}$/

/** Parses a digest. @throws TapestryError INVALID_ARGUMENT when the text is not one. */
export function ensureDigest(text: string): Digest {
  if (!PATTERN.test(text))
    throw new TapestryError('INVALID_ARGUMENT', `not a digest: "${text.slice(0, 80)}" (expected sha256:<64 hex>)`)
  return text as Digest
}

/** The digest of bytes held in memory. For files use model/ or store/, which stream. */
export function digestOf(bytes: Uint8Array | string): Digest {
  return fromHex(createHash('sha256').update(bytes).digest('hex'))
}

/** Wraps the hex a streaming hash returned. */
export function fromHex(hex: string): Digest {
  return ensureDigest(`sha256:${hex}`)
}

/** The 64 hex characters without the algorithm. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length)
}
