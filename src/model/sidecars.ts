import { mkdir, open, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { canonicalBytes } from '../core/canonical-json.ts'
import { TapestryError } from '../core/error.ts'
import type { Signature } from '../core/signature.ts'
import type { ModelFile } from './model-file.ts'
import { parseCanonical, signatureSchema } from './parsing.ts'
import { type AttestationPath, SUPERSEDED } from './release-path.ts'
import { readFully } from './safetensors.ts'
import type { SignedSupersession } from './supersession.ts'
import { fileError, writeWhole } from './whole-file.ts'

/** What goes with a checkpoint's files so that anyone can verify them offline. */
export type Sidecars = {
  /** Canonical bytes of the manifest: `manifest.json`. */
  readonly manifest: Uint8Array
  /** By a release key over the manifest, in the manifest domain: `manifest.sig`. */
  readonly signature: Signature
  /** Canonical bytes of the federation record and the CA's signature of them: `federation.json`. */
  readonly federation: { readonly record: Uint8Array; readonly signature: Signature }
}

/** Far above the manifest of a round with 100,000 contributions; a larger file is not read into memory. */
const MAX_SIDECAR_BYTES = 64 * 2 ** 20

const noticeSchema = z.strictObject({ text: z.string(), signature: signatureSchema })
const federationSchema = z.strictObject({ record: z.string(), signature: signatureSchema })

/** Writes manifest.json, manifest.sig and federation.json into a checkpoint directory. Checks nothing. */
export async function writeCheckpointSidecars(directory: string, sidecars: Sidecars): Promise<void> {
  const { manifest, signature, federation } = sidecars
  const record = Buffer.from(federation.record).toString('utf8')
  await writeWhole(join(directory, 'manifest.json'), [manifest])
  await writeWhole(join(directory, 'manifest.sig'), [canonicalBytes(signature)])
  await writeWhole(join(directory, 'federation.json'), [canonicalBytes({ record, signature: federation.signature })])
}

/** Writes attestations into a checkpoint directory. Checks nothing. */
export async function writeAttestations(directory: string, files: readonly ModelFile[]): Promise<void> {
  for (const { path, bytes } of files) {
    const target = join(directory, path)
    await mkdir(dirname(target), { recursive: true })
    await writeWhole(target, [bytes])
  }
}

/** Puts a notice beside a checkpoint, so that nobody verifies it unawares. Checks nothing. */
export async function writeSuperseded(directory: string, { text, signature }: SignedSupersession): Promise<void> {
  await writeWhole(join(directory, SUPERSEDED), [canonicalBytes({ text, signature })])
}

/** Reads the notice beside a checkpoint. Its form is checked, its signature is not. @throws TapestryError VERIFICATION_FAILED */
export async function readSuperseded(directory: string): Promise<SignedSupersession> {
  return parseCanonical(await readSidecar(directory, SUPERSEDED), noticeSchema, SUPERSEDED)
}

/** Reads attestations, by path. Nothing about them is checked but their size. @throws TapestryError VERIFICATION_FAILED */
export async function readAttestations(
  directory: string,
  paths: readonly AttestationPath[],
): Promise<ReadonlyMap<AttestationPath, Uint8Array>> {
  const found = new Map<AttestationPath, Uint8Array>()
  for (const path of paths) found.set(path, await readSidecar(directory, path))
  return found
}

/**
 * Reads the three files. Their form is checked, their signatures are not.
 * @throws TapestryError VERIFICATION_FAILED naming the file
 */
export async function readSidecars(directory: string): Promise<Sidecars> {
  const manifest = await readSidecar(directory, 'manifest.json')
  const signature = parseCanonical(await readSidecar(directory, 'manifest.sig'), signatureSchema, 'manifest.sig')
  const federation = parseCanonical(
    await readSidecar(directory, 'federation.json'),
    federationSchema,
    'federation.json',
  )
  const record = Buffer.from(federation.record, 'utf8')
  return { manifest, signature, federation: { record, signature: federation.signature } }
}

async function readSidecar(directory: string, name: string): Promise<Uint8Array> {
  const path = join(directory, name)
  try {
    const { size } = await stat(path)
    if (size > MAX_SIDECAR_BYTES) throw new TapestryError('VERIFICATION_FAILED', `${name} is too large: ${size} bytes`)
    return await readOpened(path, size)
  } catch (cause) {
    if (cause instanceof TapestryError) throw cause
    throw new TapestryError('VERIFICATION_FAILED', `${name} cannot be read`, { cause: fileError(path, cause) })
  }
}

async function readOpened(path: string, size: number): Promise<Uint8Array> {
  const file = await open(path, 'r')
  try {
    const bytes = new Uint8Array(size)
    if (!(await readFully(file, bytes, 0))) throw new Error('the file became shorter while it was read')
    return bytes
  } finally {
    await file.close()
  }
}
