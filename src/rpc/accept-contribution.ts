import type { Millis } from '../core/clock.ts'
import type { Digest } from '../core/digest.ts'
import { TapestryError } from '../core/error.ts'
import type { NodeId } from '../core/ids.ts'
import { accept, reject, type Verdict } from '../core/rejection.ts'
import type { LedgerEvent } from '../ledger/entry.ts'
import { type RoundEvent, step } from '../round/step.ts'
import { advanceRow } from '../store/advance.ts'
import type { ContributionRow, NodeRow, RosterRow, RoundRow } from '../store/records.ts'
import type { Tx } from '../store/store.ts'
import { together } from '../store/together.ts'
import { type AdmissionReader, admissionReader, admitContribution } from './admission.ts'
import { judgePlace, type SignedContribution } from './contribution-place.ts'
import { keyOf } from './submission.ts'

/** A contribution whose payload was found fit. */
type Fit = {
  readonly signed: SignedContribution
  /** The node as it was when its signature was checked. */
  readonly node: NodeRow
  readonly norm: number
  readonly now: Millis
}

/**
 * Makes a contribution part of its round, together with those that arrive at the same time. Everything may have moved
 * while its payload was judged, so its place is judged again inside the transaction.
 */
export const acceptContribution = together<Fit, Verdict<Digest>>(
  'submit-contribution',
  { nameOf: ({ signed: { manifest } }) => `${manifest.run}/${manifest.round}` },
  async (tx, all) => {
    const round = await openFor(tx, all)
    const verdicts: Verdict<Digest>[] = []
    for (const one of all) verdicts.push(await round.judge(one))
    await round.save()
    return verdicts
  },
)

/** What the judgement of some contributions to one round needs, read in a few statements. */
async function openFor(tx: Tx, all: readonly Fit[]): Promise<Acceptance> {
  const [first] = all
  if (first === undefined) throw new TapestryError('INTERNAL', 'nothing was handed in')
  const key = keyOf(first.signed.manifest)
  const payloads = all.map(({ signed }) => signed.manifest.payloadDigest)
  const nodes = all.map(({ node }) => node)
  const row = await tx.round(key)
  // Asked for in one turn, look-ups by key become one statement.
  const present = await Promise.all(nodes.map(({ id }) => tx.node(id)))
  const entries = await Promise.all(nodes.map(({ id }) => tx.rosterEntry(key, id)))
  const stored = await Promise.all(nodes.map(({ id }) => tx.contributionOf(key, id)))
  const nonces = await Promise.all(
    all.map(({ node, signed }) => tx.contributionByNonce(node.id, signed.manifest.nonce)),
  )
  const uses = await tx.payloadUses(payloads)
  const records = await admissionReader(
    tx,
    all.map(({ signed, node }) => ({ manifest: signed.manifest, node })),
  )
  const acceptance = new Acceptance(tx, row, records)
  all.forEach(({ node }, i) => {
    acceptance.know(node.id, { present: present[i], entry: entries[i], stored: stored[i]?.id })
  })
  for (const { node, nonce } of nonces.flatMap((used) => (used === undefined ? [] : [used]))) {
    acceptance.nonces.add(`${node} ${nonce}`)
  }
  for (const { payload, node, revoked } of uses) acceptance.use(payload, node, revoked)
  return acceptance
}

type Known = {
  readonly present: NodeRow | undefined
  readonly entry: RosterRow | undefined
  readonly stored: Digest | undefined
}

/** A round while contributions become part of it: each is judged as if those before it had been stored. */
class Acceptance {
  readonly nonces = new Set<string>()
  readonly #tx: Tx
  readonly #records: AdmissionReader
  /** As it was read: what is saved goes from there. */
  readonly #row: RoundRow | undefined
  #stepped: RoundRow | undefined
  readonly #known = new Map<NodeId, Known>()
  readonly #owners = new Map<Digest, Set<NodeId>>()
  readonly #revoked = new Set<Digest>()
  readonly #accepted: Fit[] = []
  readonly #events: RoundEvent[] = []

  constructor(tx: Tx, row: RoundRow | undefined, records: AdmissionReader) {
    this.#tx = tx
    this.#records = records
    this.#row = row
    this.#stepped = row
  }

  know(node: NodeId, known: Known): void {
    this.#known.set(node, known)
  }

  use(payload: Digest, node: NodeId, revoked: boolean): void {
    this.#owners.set(payload, (this.#owners.get(payload) ?? new Set()).add(node))
    if (revoked) this.#revoked.add(payload)
  }

  async judge(fit: Fit): Promise<Verdict<Digest>> {
    const { signed, node, now } = fit
    const { present, entry, stored } = this.#known.get(node.id) ?? {}
    if (present === undefined) throw new TapestryError('NOT_FOUND', `there is no node ${node.id}`)
    // The key may have been retired, or the node barred, while the payload was judged.
    if (present.publicKey !== node.publicKey) return reject('BAD_SIGNATURE', 'the node has changed its keys meanwhile')
    if (present.status !== 'active') return reject('NOT_IN_ROSTER', `this node is ${present.status}`)
    const place = await judgePlace(this.#tx, signed, { row: this.#stepped, stored, entry })
    if (!place.ok || place.value === 'stored') return place.ok ? accept(signed.id) : place
    const used = this.#replayed(fit)
    if (used !== undefined) return used
    const { round } = place.value
    const admitted = await admitContribution(this.#records, signed.manifest, node, round, now)
    if (!admitted.ok) return admitted
    this.#take(fit, place.value, { present, entry })
    return accept(signed.id)
  }

  #replayed({ signed, node }: Fit): Verdict<Digest> | undefined {
    const { nonce, payloadDigest } = signed.manifest
    if (this.nonces.has(`${node.id} ${nonce}`)) return reject('REPLAYED', 'this nonce has been used before')
    // Digests are no secret: without this a node could have another's work counted as its own.
    if ([...(this.#owners.get(payloadDigest) ?? [])].some((owner) => owner !== node.id)) {
      return reject('REPLAYED', 'this payload is the contribution of another node')
    }
    if (!this.#revoked.has(payloadDigest)) return undefined
    return reject('REPLAYED', 'this payload was revoked: what is taken back is not handed in again')
  }

  #take(fit: Fit, row: RoundRow, { present, entry }: Pick<Known, 'present' | 'entry'>): void {
    const { signed, node, now } = fit
    const event: RoundEvent = { type: 'contribution-accepted', from: entry?.standing ?? 'joined' }
    this.#accepted.push(fit)
    this.#events.push(event)
    this.#stepped = { ...row, round: step(row.round, event, now).round }
    this.nonces.add(`${node.id} ${signed.manifest.nonce}`)
    this.use(signed.manifest.payloadDigest, node.id, false)
    const standing = entry && { ...entry, standing: 'accepted' as const }
    this.know(node.id, { present, entry: standing, stored: signed.id })
  }

  /** Rows, log entries, standings and the round, each in one statement. */
  async save(): Promise<void> {
    const [tx, row, now] = [this.#tx, this.#row, this.#accepted.at(-1)?.now]
    if (row === undefined || now === undefined) return
    await tx.createContributions(this.#accepted.map(contributionRow))
    await tx.appendToLedger(this.#accepted.map(contributionEvent), now)
    const nodes = this.#accepted.map(({ node }) => node.id)
    await tx.setStanding(row.key, nodes, 'accepted')
    await advanceRow(tx, row, this.#events, now)
  }
}

function contributionEvent({ signed: { id, manifest } }: Fit): LedgerEvent {
  const { node, run, round, baseDigest, payloadDigest, payloadBytes } = manifest
  const what = { base: baseDigest, payload: payloadDigest, bytes: payloadBytes }
  return { type: 'contribution', contribution: id, node, run, round, ...what }
}

function contributionRow({ signed, node, norm, now }: Fit): ContributionRow {
  const { id, manifest, text, signature } = signed
  return {
    id,
    key: keyOf(manifest),
    node: node.id,
    manifest: text,
    signature,
    nonce: manifest.nonce,
    payload: manifest.payloadDigest,
    bytes: manifest.payloadBytes,
    norm,
    weight: null,
    languages: manifest.languages,
    records: (manifest.records ?? []).flatMap(({ digest, languages }) =>
      languages.map((used) => ({ record: digest, ...used })),
    ),
    acceptedAt: now,
  }
}
