import { z } from 'zod'
import { TapestryError } from '../../core/error.ts'
import type { FederationId } from '../../core/ids.ts'
import { type TrustRoot, verifyCheckpoint } from '../../model/verify.ts'
import { byteProgress } from '../byte-progress.ts'
import { defineCommand, setting } from '../command.ts'
import { federationId } from '../input.ts'
import { readNamedFile, requireNamedDirectory } from '../named-file.ts'

export const verify = defineCommand({
  path: 'verify',
  summary: 'prove offline that a directory is a checkpoint of a federation, whole and unchanged',
  arguments: [{ name: '<directory>', description: 'the checkpoint' }],
  options: [
    setting('--trust <federation>', 'the federation it must come from, sha256:<64 hex>'),
    setting('--key <file>', 'or the release key that must have signed it, PEM'),
  ],
  input: z.object({ directory: z.string(), trust: federationId.optional(), key: z.string().optional() }),
  notes: 'Exits with 5 when anything does not hold.',
  async run({ directory, trust, key }, { output, clock }) {
    const root = await trustRoot(trust, key)
    await requireNamedDirectory(directory)
    const progress = byteProgress(output, 'verifying', () => clock.now())
    const verified = await verifyCheckpoint(directory, root, { onProgress: progress.report }).finally(progress.close)
    const { manifest, digest, federation, attestations } = verified
    const { run, version, round, files } = manifest
    return {
      json: {
        verified: true,
        digest,
        run,
        version,
        round,
        federation: federation.id,
        files: files.length,
        attestations,
      },
      text: [
        `${run}@${version} of federation ${federation.id} is whole and unchanged`,
        attestationsText(attestations),
        digest,
      ].join('\n'),
    }
  },
})

function attestationsText(paths: readonly string[]): string {
  return paths.length === 0 ? 'without attestations' : `attested by ${paths.join(', ')}`
}

async function trustRoot(federation: FederationId | undefined, key: string | undefined): Promise<TrustRoot> {
  if (federation !== undefined && key === undefined) return { federation }
  if (key !== undefined && federation === undefined) return { releaseKeyPem: await readNamedFile(key) }
  throw new TapestryError('INVALID_ARGUMENT', 'give either --trust or --key: a checkpoint cannot vouch for itself', {
    hint: 'the federation is the sha256:... that its operator tells you',
  })
}
