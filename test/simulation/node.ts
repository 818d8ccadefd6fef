import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import type { Context } from '../../src/context.ts'
import { type Digest, digestOf } from '../../src/core/digest.ts'
import { ensureMemberId, type RoundKey } from '../../src/core/ids.ts'
import { ensureLanguageTag } from '../../src/core/language-tag.ts'
import { DOMAINS, type Domain, signMessage } from '../../src/core/signature.ts'
import {
  SubmitContributionRequestSchema,
  SubmitEvaluationRequestSchema,
} from '../../src/gen/proto/tapestry/v1/contribution_pb.ts'
import { JoinRoundRequestSchema } from '../../src/gen/proto/tapestry/v1/round_pb.ts'
import { contributionManifestBytes } from '../../src/model/contribution-manifest.ts'
import { evaluationReportBytes } from '../../src/model/evaluation-report.ts'
import { joinRound } from '../../src/rpc/join-round.ts'
import { submitContribution } from '../../src/rpc/submit-contribution.ts'
import { submitEvaluation } from '../../src/rpc/submit-evaluation.ts'
import type { NodeRow, RoundRow } from '../../src/store/records.ts'
import { announceUpload, appendUpload } from '../../src/store/uploads.ts'
import { testNode as testNodeRow } from '../federation.ts'
import { testNode } from '../rounds.ts'
import type { Activity } from './activity.ts'
import type { Dice } from './dice.ts'
import { arriving } from './faults.ts'
import { publicLog } from './ledger.ts'
import { oneHot } from './one-hot.ts'

/** What a node keeps on its disk about one round. */
type Work = {
  readonly key: RoundKey
  readonly payload: Uint8Array
  readonly digest: Digest
  readonly manifest: Uint8Array
  /** The payload holds a NaN: to be refused, and mended. */
  readonly spoilt: boolean
  uploaded: boolean
  /** How often it was sent; each time after the first its answer was lost or is still on its way. */
  sent: number
  stage: 'made' | 'accepted' | 'evaluated'
}

/** A call that a node makes: what the coordinator does, and what the node learns if the answer reaches it. */
export type Call = {
  readonly name: string
  readonly kind: 'join' | 'upload' | 'submit' | 'resubmit' | 'evaluate'
  readonly perform: (context: Context, activity: Activity) => Promise<() => void>
}

const SCORE = { mean: 3, standardError: 0.01, tokens: 500 }
const LANGUAGE = ensureLanguageTag('sw')

/** An institution's node: makes the calls of a real one, in their order, and remembers what a real one writes down. */
export class SimulatedNode {
  readonly row: NodeRow
  /** Contributions that the coordinator said are accepted, by round. */
  readonly acknowledged = new Map<number, Digest>()
  /** What nobody should have answered. */
  readonly surprises: string[] = []
  readonly #index: number
  readonly #key: KeyObject
  readonly #dice: Dice
  readonly #joined = new Set<number>()
  readonly #forgotten = new Set<number>()
  #work: Work | undefined

  constructor(index: number, dice: Dice) {
    this.#index = index
    this.#dice = dice
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    this.#key = privateKey
    this.row = {
      ...testNodeRow(testNode(index)),
      member: ensureMemberId(`member-${index}`),
      name: `Node ${index}`,
      publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    }
  }

  /** Loses what it made for the present round, as a node that is set up again from a backup of its keys. */
  forget(): void {
    if (this.#work !== undefined) this.#forgotten.add(this.#work.key.number)
    this.#work = undefined
    this.#joined.clear()
  }

  /** What it does next about a round, as it would after a look at it; undefined when there is nothing to do. */
  next({ key, round }: RoundRow, federation: Context['federation']): Call | undefined {
    if (round.phase === 'open') return this.#joined.has(key.number) ? undefined : this.#join(key)
    if (round.phase === 'collecting') return this.#contribute(key, round.base, federation)
    const work = this.#work
    if (round.phase !== 'evaluating' || work?.key.number !== key.number || work.stage !== 'accepted') return undefined
    return this.#evaluate(work, round.base, round.candidate, federation)
  }

  #join(key: RoundKey): Call {
    return {
      kind: 'join',
      name: `join ${this.#index}/${key.number}`,
      perform: async (context) => {
        const request = create(JoinRoundRequestSchema, { ref: { run: key.run, number: key.number } })
        await joinRound(context, request, this.#principal())
        return () => void this.#joined.add(key.number)
      },
    }
  }

  #contribute(key: RoundKey, base: Digest, federation: Context['federation']): Call | undefined {
    if (this.#work?.key.number !== key.number) this.#work = this.#make(key, base, federation, this.#dice.chance(0.1))
    const work = this.#work
    if (work.stage !== 'made') return undefined
    return work.uploaded ? this.#submit(work, base, federation) : this.#upload(work)
  }

  #upload(work: Work): Call {
    const { digest, payload, key } = work
    return {
      kind: 'upload',
      name: `upload ${this.#index}/${key.number}`,
      perform: async (context, activity) => {
        const node = this.row.id
        const state = await announceUpload(context, node, digest, payload.byteLength)
        if (state.kind === 'open') {
          const rest = arriving(activity, payload.subarray(state.offset))
          await appendUpload(context, node, digest, state.offset, rest)
        }
        return () => {
          work.uploaded = true
        }
      },
    }
  }

  #submit(work: Work, base: Digest, federation: Context['federation']): Call {
    const { manifest, key } = work
    work.sent += 1
    return {
      kind: work.sent === 1 ? 'submit' : 'resubmit',
      name: `submit ${this.#index}/${key.number}`,
      perform: async (context) => {
        const request = create(SubmitContributionRequestSchema, {
          manifest,
          signature: this.#sign(DOMAINS.contribution, manifest),
        })
        const answer = await submitContribution(context, publicLog(context), request, this.#principal())
        const reason = 'rejection' in answer ? answer.rejection?.reason : undefined
        return () => this.#answered(work, base, federation, reason)
      },
    }
  }

  #answered(work: Work, base: Digest, federation: Context['federation'], reason: string | undefined): void {
    switch (reason) {
      case undefined:
        this.acknowledged.set(work.key.number, digestOf(work.manifest))
        work.stage = 'accepted'
        if (work.spoilt) this.surprises.push(`a NaN was accepted in round ${work.key.number}`)
        return
      case 'NON_FINITE':
        if (!work.spoilt) this.surprises.push(`a sound delta was refused in round ${work.key.number}`)
        if (this.#work === work) this.#work = this.#make(work.key, base, federation, false)
        return
      case 'TRUNCATED':
        work.uploaded = false
        return
      case 'DUPLICATE':
        if (!this.#forgotten.has(work.key.number)) this.surprises.push(`round ${work.key.number} calls it a duplicate`)
        work.stage = 'evaluated'
        return
      case 'ROUND_CLOSED':
      case 'NOT_IN_ROSTER':
        work.stage = 'evaluated'
        return
      default:
        this.surprises.push(`round ${work.key.number} refused with ${reason}`)
    }
  }

  #evaluate(work: Work, base: Digest, candidate: Digest, federation: Context['federation']): Call {
    const { run, number: round } = work.key
    const place = { federation, run, round, node: this.row.id, baseDigest: base, candidateDigest: candidate }
    const language = { language: LANGUAGE, community: '', base: SCORE, candidate: SCORE }
    const report = evaluationReportBytes({ ...place, languages: [language] })
    return {
      kind: 'evaluate',
      name: `evaluate ${this.#index}/${round}`,
      perform: async (context) => {
        const signature = this.#sign(DOMAINS.evaluation, report)
        const request = create(SubmitEvaluationRequestSchema, { report, signature })
        const answer = await submitEvaluation(context, request, this.#principal())
        const reason = 'rejection' in answer ? answer.rejection?.reason : undefined
        return () => {
          if (reason !== undefined && reason !== 'ROUND_CLOSED')
            this.surprises.push(`evaluation refused with ${reason}`)
          work.stage = 'evaluated'
        }
      },
    }
  }

  #make(key: RoundKey, base: Digest, federation: Context['federation'], spoilt: boolean): Work {
    const payload = oneHot(this.#index, spoilt ? Number.NaN : 1, `${key.run}/${key.number}/${this.#dice.hex(8)}`)
    const digest = digestOf(payload)
    const manifest = contributionManifestBytes({
      federation,
      run: key.run,
      round: key.number,
      node: this.row.id,
      baseDigest: base,
      payloadDigest: digest,
      payloadBytes: payload.byteLength,
      nonce: this.#dice.hex(32),
      languages: [{ language: LANGUAGE, community: '', tokens: 1000, documents: 10, before: SCORE, after: SCORE }],
    })
    return { key, payload, digest, manifest, spoilt, uploaded: false, sent: 0, stage: 'made' }
  }

  #sign(domain: Domain, message: Uint8Array) {
    const { keyId, value } = signMessage(this.#key, domain, message)
    return { keyId, value: Buffer.from(value, 'base64') }
  }

  #principal() {
    return { kind: 'node', node: this.row } as const
  }
}
