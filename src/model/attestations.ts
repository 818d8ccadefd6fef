import { createPublicKey, type KeyObject } from 'node:crypto'
import { type Digest, digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import { billOfMaterials } from './bom.ts'
import type { ReleaseKey } from './federation-record.ts'
import { fileDescriptor, type ResourceDescriptor } from './in-toto.ts'
import type { LlamaArchitecture } from './llama-config.ts'
import type { Manifest } from './manifest.ts'
import { jsonFile, type ModelFile } from './model-file.ts'
import { modelSignature, verifyModelSignature } from './model-signature.ts'
import { provenance, type RoundRules, verifyProvenance } from './provenance.ts'
import { ATTESTATION, ATTESTATIONS, type AttestationPath } from './release-path.ts'
import type { DeclaredDataset, TrainingContent, TrainingShare } from './training-content.ts'

/** What attestations are made from, besides the signed manifest. */
export type AttestationSource = {
  readonly rules: RoundRules
  readonly architecture: LlamaArchitecture
  /** SPDX expression. */
  readonly license: string
  readonly training: TrainingContent
  readonly shares: readonly TrainingShare[]
  readonly datasets: readonly DeclaredDataset[]
  /** The day of the summary, YYYY-MM-DD. */
  readonly day: string
}

/** A manifest with the bytes of its two files: `manifest.json` and `manifest.sig`. */
export type SignedManifest = {
  readonly manifest: Manifest
  readonly bytes: Uint8Array
  readonly signature: Uint8Array
}

/**
 * The documents that go with a checkpoint for other people's tools. model.sig and the provenance are signed; the
 * provenance names the digests of the other two. Signatures differ each time: sign once, keep the bytes.
 */
export function makeAttestations(signed: SignedManifest, source: AttestationSource, key: KeyObject): ModelFile[] {
  const { manifest } = signed
  const checkpoint = digestOf(signed.bytes)
  const documents = [billOfMaterials({ ...source, manifest, checkpoint }), summary(source, checkpoint)]
  const byproducts = documents.map(({ path, bytes }) => fileDescriptor({ path, digest: digestOf(bytes) }))
  const name = `${manifest.run}@${manifest.version}`
  const keys = { privateKey: key, publicKey: createPublicKey(key) }
  return [
    { path: ATTESTATION.modelSignature, bytes: modelSignature(name, signedFiles(signed), keys) },
    {
      path: ATTESTATION.provenance,
      bytes: provenance(manifest, source.rules, madeFiles(signed), byproducts, key),
    },
    ...documents,
  ]
}

function summary({ training, day }: AttestationSource, checkpoint: Digest): ModelFile {
  return jsonFile(ATTESTATION.trainingContent, { ...training, checkpoint, lastUpdate: day })
}

/**
 * Proves that attestations belong to the manifest: all of them or none, since checkpoints from before they were
 * made have none.
 * @param found bytes by path
 * @returns the paths that were proven
 * @throws TapestryError VERIFICATION_FAILED naming the file
 */
export function verifyAttestations(
  signed: SignedManifest,
  found: ReadonlyMap<string, Uint8Array>,
  keys: readonly ReleaseKey[],
): readonly AttestationPath[] {
  if (found.size === 0) return []
  const bytesOf = (path: AttestationPath): Uint8Array => {
    const bytes = found.get(path)
    if (bytes === undefined) throw new TapestryError('VERIFICATION_FAILED', `"${path}" is missing`)
    return bytes
  }
  verifyModelSignature(bytesOf(ATTESTATION.modelSignature), signedFiles(signed), keys)
  const byproducts = [ATTESTATION.bom, ATTESTATION.trainingContent].map((path) =>
    fileDescriptor({ path, digest: digestOf(bytesOf(path)) }),
  )
  verifyProvenance(bytesOf(ATTESTATION.provenance), signed.manifest, madeFiles(signed), byproducts, keys)
  return ATTESTATIONS
}

/** What the round made: the manifest and all that it lists. */
function madeFiles({ manifest, bytes }: SignedManifest): readonly ResourceDescriptor[] {
  return [...manifest.files.map(fileDescriptor), fileDescriptor({ path: 'manifest.json', digest: digestOf(bytes) })]
}

/** What model.sig covers: the same, and the manifest's own signature. */
function signedFiles(signed: SignedManifest): readonly ResourceDescriptor[] {
  return [...madeFiles(signed), fileDescriptor({ path: 'manifest.sig', digest: digestOf(signed.signature) })]
}
