import { z } from 'zod'
import { verifyCheckpoint } from '../../model/verify.ts'
import { byteProgress } from '../byte-progress.ts'
import { defineCommand } from '../command.ts'
import { requireNamedDirectory } from '../named-file.ts'
import { TRUST_ROOT_INPUT, TRUST_ROOT_OPTIONS, trustRoot } from '../trust-root.ts'

export const verify = defineCommand({
  path: 'verify',
  summary: 'prove offline that a directory is a checkpoint of a federation, whole and unchanged',
  arguments: [{ name: '<directory>', description: 'the checkpoint' }],
  options: TRUST_ROOT_OPTIONS(),
  input: z.object({ ...TRUST_ROOT_INPUT, directory: z.string() }),
  notes: 'Exits with 5 when anything does not hold.',
  async run({ directory, ...trust }, { output, clock }) {
    const root = await trustRoot(trust)
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
