import type { Clock } from '../../core/clock.ts'
import { ModelService } from '../../gen/proto/tapestry/v1/model_pb.ts'
import { openPublicClient, type PublicClient, type Trust } from '../../participant/public-client.ts'
import { counted } from '../terminal.ts'
import { IMPATIENT, reach } from './coordinator-reach.ts'
import { type Diagnosis, type Examination, ok, warn } from './diagnosis.ts'

/** What a stranger needs to download a model. */
export function downloadExaminations(from: string, trust: Trust, clock: Clock): readonly Examination[] {
  const connected = async (use: (client: PublicClient) => Promise<Diagnosis>) => {
    const client = await openPublicClient(from, trust)
    return use(client).finally(() => client.close())
  }
  return [
    {
      check: 'trust',
      examine: () => connected(async ({ federation }) => ok(`${federation.record.id}, "${federation.record.name}"`)),
    },
    { check: 'coordinator', examine: () => connected(async (client) => (await reach(client, clock)).answer) },
    { check: 'clock', examine: () => connected(async (client) => (await reach(client, clock)).clock) },
    { check: 'releases', examine: () => connected(examineReleases) },
  ]
}

async function examineReleases(client: PublicClient): Promise<Diagnosis> {
  const { channels } = await client.call(ModelService.method.listChannels, {}, IMPATIENT)
  if (channels.length === 0) return warn('nothing has been released', 'wait for the first round to be published')
  return ok(`${counted(channels.length, 'channel')}: ${channels.map(({ name }) => name).join(', ')}`)
}
