import { randomBytes } from 'node:crypto'
import type { Digest } from '../src/core/digest.ts'
import { ensureLanguageTag } from '../src/core/language-tag.ts'
import { DOMAINS, privateKeyFromPem, signMessage } from '../src/core/signature.ts'
import { contributionManifestBytes } from '../src/model/contribution-manifest.ts'
import { evaluationReportBytes } from '../src/model/evaluation-report.ts'
import type { Membership } from '../src/participant/node-directory.ts'
import type { RoundView } from '../src/participant/round-view.ts'
import { signatureMessage } from '../src/participant/wire.ts'

/** Who signs: a node's place in the federation, and its node key as PEM. */
export type Signer = { readonly membership: Pick<Membership, 'federation' | 'node'>; readonly key: string }

const LANGUAGE = { language: ensureLanguageTag('en'), community: '' }
const score = (mean: number) => ({ mean, standardError: 0.01, tokens: 1000 })

/** What a node says about its delta, as a request. The numbers about text are made up: no text was read. */
export function contributionRequest(
  { membership, key }: Signer,
  view: Pick<RoundView, 'key' | 'base'>,
  delta: { readonly digest: Digest; readonly size: number },
) {
  const { federation, node } = membership
  const manifest = contributionManifestBytes({
    federation,
    run: view.key.run,
    round: view.key.number,
    node,
    baseDigest: view.base,
    payloadDigest: delta.digest,
    payloadBytes: delta.size,
    nonce: randomBytes(16).toString('hex'),
    languages: [{ ...LANGUAGE, tokens: 100, documents: 1, before: score(5.5), after: score(5.4) }],
  })
  return { manifest, signature: signatureMessage(signMessage(privateKeyFromPem(key), DOMAINS.contribution, manifest)) }
}

/** What a node says about a candidate, as a request: that it is better than its base. */
export function evaluationRequest(
  { membership, key }: Signer,
  view: Pick<RoundView, 'key' | 'base'>,
  candidateDigest: Digest,
) {
  const { federation, node } = membership
  const report = evaluationReportBytes({
    federation,
    run: view.key.run,
    round: view.key.number,
    node,
    baseDigest: view.base,
    candidateDigest,
    languages: [{ ...LANGUAGE, base: score(5.5), candidate: score(5.3) }],
  })
  return { report, signature: signatureMessage(signMessage(privateKeyFromPem(key), DOMAINS.evaluation, report)) }
}
