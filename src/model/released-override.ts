import { digestOf } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { FederationRecord } from './federation-record.ts'
import { gateBytes, type Manifest } from './manifest.ts'
import { type OverrideSigner, verifyOverride } from './override.ts'
import { weightsAmong } from './weight-index.ts'

/**
 * Proves that a checkpoint which the gate had blocked shows whose word released it. The release key alone cannot say so.
 * @returns who signed, and why; nobody for a checkpoint that needed no override
 * @throws TapestryError VERIFICATION_FAILED
 */
export function verifyReleasedOverride(manifest: Manifest, federation: FederationRecord): readonly OverrideSigner[] {
  const { override, gate, files } = manifest
  const blocked = gate?.groups.some(({ verdict }) => verdict === 'worse') ?? false
  if (override === undefined) {
    if (!blocked) return []
    throw failed('a language got worse, and no override is shown')
  }
  const weights = weightsAmong(files)
  if (gate === undefined || weights === undefined) throw failed('the override is about nothing')
  const subject = { ...manifest, candidate: weights.digest, gate: digestOf(gateBytes(gate)) }
  return verifyOverride(override, subject, federation)
}

const failed = (detail: string) => new TapestryError('VERIFICATION_FAILED', `manifest.json: ${detail}`)
