import type { Context } from '../context.ts'
import type { Millis } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import type { NodeId, RoundKey } from '../core/ids.ts'
import type { JoinRoundRequest } from '../gen/proto/tapestry/v1/round_pb.ts'
import type { Round } from '../round/round.ts'
import { type RoundEvent, step } from '../round/step.ts'
import { advanceRow, requireRound } from '../store/advance.ts'
import type { RoundRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'
import { together } from '../store/together.ts'
import type { NodePrincipal } from './auth.ts'
import { roundKeyOf, roundMessage } from './message.ts'

type Joining = { readonly key: RoundKey; readonly node: NodeId; readonly now: Millis }

/** Puts the calling node on an open round's roster. Repeating it changes nothing. */
export async function joinRound(context: Context, request: JoinRoundRequest, { node }: NodePrincipal) {
  const key = roundKeyOf(request.ref)
  return { round: roundMessage(await join(context.store, { key, node: node.id, now: context.clock.now() })) }
}

/** Nodes hear of a round at the same moment, and join it together. */
const join = together<Joining, RoundRow>(
  'join-round',
  { nameOf: ({ key: { run, number } }) => `${run}/${number}` },
  async (tx, joining) => {
    const [first] = joining
    if (first === undefined) return []
    const { key, now } = first
    const row = await requireRound(tx, key)
    const nodes = [...new Set(joining.map(({ node }) => node))]
    // Asked for in one turn, look-ups by key become one statement.
    const known = await Promise.all(nodes.map((node) => tx.rosterEntry(key, node)))
    const { refused, fresh, events } = await admit(
      tx,
      row,
      nodes.filter((_, i) => known[i] === undefined),
      now,
    )
    if (fresh.length > 0) await tx.addToRoster(key, fresh, now)
    const advanced = await advanceRow(tx, row, events, now)
    return joining.map(({ node }) => refused.get(node) ?? advanced)
  },
)

/** Each as if those before it had joined: the one that completes the round shuts out those behind it. */
async function admit(tx: Tx, row: RoundRow, nodes: readonly NodeId[], now: Millis) {
  const { demands } = row.round.policy
  const declaring = demands === null || nodes.length === 0 ? undefined : await tx.declaring(nodes)
  const refused = new Map<NodeId, TapestryError>()
  const fresh: NodeId[] = []
  const events: RoundEvent[] = []
  let { round } = row
  for (const node of nodes) {
    if (round.phase !== 'open') refused.set(node, frozen(row.key, round))
    // Who has declared nothing would train for a refusal, and the others would wait for it.
    else if (declaring?.has(node) === false) refused.set(node, undeclared(row.key))
    else {
      const event: RoundEvent = { type: 'node-joined' }
      round = step(round, event, now).round
      events.push(event)
      fresh.push(node)
    }
  }
  return { refused, fresh, events }
}

function frozen({ run, number }: RoundKey, { phase }: Round): TapestryError {
  return new TapestryError('FAILED_PRECONDITION', `round ${number} of ${run} is ${phase}: its roster is frozen`)
}

function undeclared({ run }: RoundKey): TapestryError {
  return new TapestryError('FAILED_PRECONDITION', `run ${run} takes only data with a dataset record`, {
    hint: 'declare your data: tapestry dataset add (an older tapestry has to be brought up to date first)',
  })
}
