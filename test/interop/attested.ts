import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type AttestationSource, makeAttestations, type SignedManifest } from '../../src/model/attestations.ts'
import { type Manifest, parseManifest } from '../../src/model/manifest.ts'
import { writeAttestations } from '../../src/model/sidecars.ts'
import { trainingContent } from '../../src/model/training-content.ts'
import { ARCHITECTURE, sampleTraining } from './checkpoint.ts'
import type { TestFederation } from './federation.ts'

export function sampleSource(manifest: Omit<Manifest, 'files'>): AttestationSource {
  const facts = sampleTraining(manifest)
  return {
    rules: { quorum: 2, weighting: 'uniform' },
    architecture: ARCHITECTURE,
    license: 'Apache-2.0',
    training: trainingContent(facts),
    shares: facts.shares,
    datasets: facts.datasets,
    day: '2026-11-23',
  }
}

/** The manifest of a checkpoint directory with the bytes of both its files. */
export async function readSigned(directory: string): Promise<SignedManifest> {
  const bytes = await readFile(join(directory, 'manifest.json'))
  return { manifest: parseManifest(bytes), bytes, signature: await readFile(join(directory, 'manifest.sig')) }
}

/** Adds attestations by the federation's release key to a checkpoint directory. */
export async function attest(directory: string, { releaseKey }: TestFederation): Promise<void> {
  const signed = await readSigned(directory)
  await writeAttestations(directory, makeAttestations(signed, sampleSource(signed.manifest), releaseKey))
}
