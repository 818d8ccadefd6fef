import { z } from 'zod'
import { type VerifiedCheckpoint, verifyCheckpoint } from '../../model/verify.ts'
import { openPublicClient } from '../../participant/public-client.ts'
import { fetchRelease, refuseSuperseded } from '../../participant/release.ts'
import { byteProgress } from '../byte-progress.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { trustStorePath } from '../directories.ts'
import { addresses } from '../input.ts'
import { requireNamedDirectory } from '../named-file.ts'
import { TRUST_ROOT_INPUT, TRUST_ROOT_OPTIONS, trustRoot } from '../trust-root.ts'

export const verify = defineCommand({
  path: 'verify',
  summary: 'prove that a directory is a checkpoint of a federation, whole, unchanged and not taken back',
  arguments: [{ name: '<directory>', description: 'the checkpoint' }],
  options: [
    ...TRUST_ROOT_OPTIONS(),
    setting('--from <host:port>', 'also ask this coordinator whether it was superseded; without it nothing is asked'),
    flag('--allow-superseded', 'also a checkpoint that a revocation took back'),
  ],
  input: z.object({
    ...TRUST_ROOT_INPUT,
    directory: z.string(),
    from: addresses.optional(),
    allowSuperseded: z.boolean().default(false),
  }),
  notes:
    'Exits with 5 when anything does not hold, and when a notice (superseded.json, or the coordinator) says it is superseded.',
  async run({ directory, from, allowSuperseded, ...trust }, { output, clock, env }) {
    const root = await trustRoot(trust)
    await requireNamedDirectory(directory)
    const progress = byteProgress(output, 'verifying', () => clock.now())
    const options = { onProgress: progress.report, allowSuperseded }
    const verified = await verifyCheckpoint(directory, root, options).finally(progress.close)
    const { manifest, digest, federation, attestations, supersession } = verified
    const heard = from === undefined ? false : await askWhetherSuperseded(from, verified, allowSuperseded, env)
    const superseded = heard || supersession !== undefined
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
        superseded,
      },
      text: [
        `${run}@${version} of federation ${federation.id} is whole and unchanged`,
        attestationsText(attestations),
        ...(superseded ? ['it is superseded: a revocation took it back'] : []),
        digest,
      ].join('\n'),
    }
  },
})

function attestationsText(paths: readonly string[]): string {
  return paths.length === 0 ? 'without attestations' : `attested by ${paths.join(', ')}`
}

/** Asks the coordinator of the federation that the checkpoint names. */
async function askWhetherSuperseded(
  from: string,
  { digest, federation }: VerifiedCheckpoint,
  allowed: boolean,
  env: Readonly<Record<string, string | undefined>>,
): Promise<boolean> {
  const client = await openPublicClient(from, { federation: federation.id, store: trustStorePath(env) })
  try {
    const release = await fetchRelease(client, digest, client.federation.record)
    if (!allowed) refuseSuperseded(release, client.federation.record)
    return release.superseded
  } finally {
    client.close()
  }
}
