import { resolve } from 'node:path'
import { z } from 'zod'
import { pullCheckpoint } from '../../participant/pull.ts'
import { byteProgress } from '../byte-progress.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { pullDirectory } from '../pull-directory.ts'
import { formatBytes } from '../terminal.ts'
import { STRANGER_INPUT, STRANGER_OPTIONS, strangerTrust } from '../trust-input.ts'

export const pull = defineCommand({
  path: 'pull',
  summary: 'download a released checkpoint, and verify it before it is installed',
  arguments: [{ name: '[ref]', description: 'a channel, run@version, or sha256:<manifest digest> (global)' }],
  options: [
    ...STRANGER_OPTIONS(),
    setting('--output <directory>', 'where the checkpoint goes (./<ref>)'),
    flag('--allow-superseded', 'also one that a revocation took back, as long as its files exist'),
  ],
  input: z.object({
    ...STRANGER_INPUT,
    ref: z.string().default('global'),
    output: z.string().optional(),
    allowSuperseded: z.boolean().default(false),
  }),
  notes: 'Interrupted, it goes on where it was. No certificate is needed. Exits with 5 for a superseded checkpoint.',
  async run({ ref, from, output: directory, allowSuperseded, ...trust }, { env, output, clock }) {
    const target = directory === undefined ? pullDirectory(ref) : resolve(directory)
    const progress = byteProgress(output, 'pulling', () => clock.now())
    const pulled = await pullCheckpoint({
      address: from,
      ref,
      directory: target,
      trust: strangerTrust(trust, env),
      allowSuperseded,
      onProgress: progress.report,
    }).finally(progress.close)
    const { manifest, digest, federation, attestations, supersession, downloaded, firstContact } = pulled
    if (supersession) output.note('this checkpoint is superseded: superseded.json in it says so')
    if (firstContact)
      output.note(`first contact: ${from} is federation ${federation.id}; compare it with what its operator tells you`)
    const bytes = manifest.files.reduce((sum, { size }) => sum + size, 0)
    const { run, version, round } = manifest
    return {
      json: {
        ref,
        digest,
        run,
        version,
        round,
        federation: federation.id,
        directory: target,
        bytes,
        downloaded,
        verified: true,
        superseded: supersession !== undefined,
        attestations,
      },
      text: [
        `${run}@${version}, ${formatBytes(bytes)}, ${downloaded ? 'verified' : 'was there already, and is sound'}`,
        digest,
        `in ${target}`,
      ].join('\n'),
    }
  },
})
