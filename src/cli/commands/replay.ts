import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { type Replayed, replayInputs, replayMerge } from '../../aggregation/replay.ts'
import { TapestryError } from '../../core/error.ts'
import { strategyText } from '../../core/strategy.ts'
import { ModelService } from '../../gen/proto/tapestry/v1/model_pb.ts'
import { type Manifest, mergesOf, parseManifest } from '../../model/manifest.ts'
import type { Channel } from '../../participant/channel.ts'
import { fetchFederation } from '../../participant/federation.ts'
import { digestOfFile } from '../../participant/file-digest.ts'
import { fetchRelease, type Release } from '../../participant/release.ts'
import { byteProgress } from '../byte-progress.ts'
import { defineCommand, setting } from '../command.ts'
import { coordinatorPaths } from '../coordinator-directory.ts'
import { defaultCoordinatorDirectory } from '../directories.ts'
import { OPERATOR_INPUT, OPERATOR_OPTIONS, withOperator } from '../operator-client.ts'
import { fetchInputs, fromCoordinator, fromDirectory } from '../replay-files.ts'

export const replay = defineCommand({
  path: 'replay',
  summary: 'repeat the merge that made a checkpoint, and compare the digests',
  arguments: [{ name: '<checkpoint>', description: 'a channel, run@version, or sha256:<manifest digest>' }],
  options: [
    ...OPERATOR_OPTIONS(),
    setting('--scratch <directory>', 'where files are made, and kept while they are compared (the system’s)'),
  ],
  input: z.object({ ...OPERATOR_INPUT, checkpoint: z.string(), scratch: z.string().optional() }),
  notes: 'Reads the blobs of a coordinator here, or downloads them. Exits with 5 when the digests differ.',
  async run({ checkpoint, scratch: parent = tmpdir(), ...access }, { env, output, clock }) {
    return withOperator(access, env, async (channel) => {
      const { release, base } = await releases(channel, checkpoint)
      const { manifest } = release
      const inputs = replayInputs(manifest, base)
      const scratch = await mkdtemp(join(parent, 'tapestry-replay-'))
      const reading = byteProgress(output, 'reading', () => clock.now())
      const merging = byteProgress(output, 'merging', () => clock.now())
      try {
        const here = access.address === undefined && access.credentials === undefined
        const { blobs } = coordinatorPaths(access.dir ?? defaultCoordinatorDirectory(env))
        const remote = fromCoordinator(channel, scratch)
        const fetch = here ? await fromDirectory(blobs, remote) : remote
        const pathOf = await fetchInputs(inputs, fetch, reading.report).finally(reading.close)
        const made = join(scratch, 'made')
        await mkdir(made)
        const digestOf = async (path: string) => (await digestOfFile(path)).digest
        const request = { manifest, base, pathOf, digestOf, scratch: made, onProgress: merging.report }
        const files = await replayMerge(request).finally(merging.close)
        requireSame(release, files)
        return { json: replayJson(release, files), text: replayText(release, files) }
      } finally {
        await rm(scratch, { recursive: true, force: true })
      }
    })
  },
})

/** The checkpoint and the one that its round started from, both proved by their signatures. */
async function releases(channel: Channel, ref: string): Promise<{ release: Release; base: Manifest }> {
  const { manifest } = await channel.call(ModelService.method.getCheckpoint, { ref })
  const { record } = await fetchFederation(channel, parseManifest(manifest).federation)
  const release = await fetchRelease(channel, ref, record)
  if (release.manifest.base === null) return { release, base: release.manifest }
  return { release, base: (await fetchRelease(channel, release.manifest.base, record)).manifest }
}

function requireSame({ manifest }: Release, files: readonly Replayed[]): void {
  const other = files.find(({ released, found }) => released !== found)
  if (other === undefined) return
  const { run, version } = manifest
  const detail = `${other.path} of ${run}@${version} is released as ${other.released}, its merge gives ${other.found}`
  throw new TapestryError('VERIFICATION_FAILED', detail)
}

function replayJson({ digest, manifest }: Release, files: readonly Replayed[]) {
  const { run, version, round, strategy } = manifest
  const contributions = mergesOf(manifest).flatMap((step) => step.contributions)
  const named = { name: strategy.name, parameters: { ...strategy.parameters } }
  const merged = { strategy: named, contributions: contributions.length }
  return { replayed: true, digest, run, version, round, ...merged, files: files.map((file) => ({ ...file })) }
}

function replayText({ digest, manifest }: Release, files: readonly Replayed[]): string {
  const { run, version, strategy } = manifest
  const contributions = mergesOf(manifest).flatMap((step) => step.contributions)
  const what = `${contributions.length} contribution${contributions.length === 1 ? '' : 's'}`
  return [
    `${run}@${version} is what ${strategyText(strategy)} makes of its base and ${what}`,
    ...files.map(({ path, found }) => `${path} ${found}`),
    digest,
  ].join('\n')
}
