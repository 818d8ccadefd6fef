import { type GetRoundResponse, RoundPhase, RoundService } from '../../gen/proto/tapestry/v1/round_pb.ts'
import type { Channel } from '../../participant/channel.ts'
import { pause } from '../../participant/retry.ts'
import type { DemoView } from './demo-view.ts'

/** Often enough for a bar to move, seldom enough to cost nothing. */
const POLL_MS = 300

const ENDED: ReadonlySet<RoundPhase> = new Set([RoundPhase.PUBLISHED, RoundPhase.REJECTED, RoundPhase.FAILED])

/** Shows rounds 1 to `count` of a run as they go, and answers with each as it ended. @throws as `channel.call`. */
export async function followRounds(
  channel: Pick<Channel, 'call'>,
  run: string,
  count: number,
  view: Pick<DemoView, 'round' | 'ended'>,
  signal: AbortSignal,
): Promise<GetRoundResponse[]> {
  const ended: GetRoundResponse[] = []
  while (ended.length < count) {
    const { rounds } = await channel.call(RoundService.method.listRounds, { run, limit: 1 }, { signal })
    const newest = rounds[0]
    if (newest?.ref === undefined) {
      await pause(POLL_MS, signal)
      continue
    }
    // A round may end and the next begin between two looks.
    const seen = ENDED.has(newest.phase) ? newest.ref.number : newest.ref.number - 1
    for (let number = ended.length + 1; number <= seen; number++) {
      const response = await channel.call(RoundService.method.getRound, { ref: { run, number } }, { signal })
      view.ended(response)
      ended.push(response)
    }
    if (!ENDED.has(newest.phase)) view.round(newest)
    if (ended.length < count) await pause(POLL_MS, signal)
  }
  return ended
}
