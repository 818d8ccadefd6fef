import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canonicalBytes } from '../core/canonical-json.ts'
import { digestOf } from '../core/digest.ts'
import { ensureFederationId, ensureNodeId, ensureRunId } from '../core/ids.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import {
  type ContributionManifest,
  contributionManifestBytes,
  parseContributionManifest,
} from './contribution-manifest.ts'
import { type EvaluationReport, evaluationReportBytes, parseEvaluationReport } from './evaluation-report.ts'
import { MAX_DOCUMENT_BYTES } from './report-document.ts'

const score = (mean: number, tokens = 900) => ({ mean, standardError: 0.01, tokens })

const place = {
  federation: ensureFederationId(digestOf('ca')),
  run: ensureRunId('demo'),
  round: 3,
  node: ensureNodeId(`node-${'ab'.repeat(16)}`),
  baseDigest: digestOf('base'),
}

const entry = {
  language: ensureLanguageTag('sw'),
  community: 'Waswahili',
  tokens: 1000,
  documents: 12,
  before: score(5.5),
  after: score(2.25),
}

const contribution: Omit<ContributionManifest, 'format'> = {
  ...place,
  payloadDigest: digestOf('payload'),
  payloadBytes: 4096,
  nonce: '0f'.repeat(16),
  languages: [entry],
}

const evaluation: Omit<EvaluationReport, 'format'> = {
  ...place,
  candidateDigest: digestOf('candidate'),
  languages: [{ language: entry.language, community: '', base: score(2), candidate: score(1.5) }],
}

/** Canonical bytes of the contribution with one member replaced, whatever it is replaced by. */
function forged(changes: object): Uint8Array {
  return canonicalBytes(JSON.parse(JSON.stringify({ format: 'tapestry-contribution/1', ...contribution, ...changes })))
}

function reasonOf(bytes: Uint8Array): string {
  const verdict = parseContributionManifest(bytes)
  return verdict.ok ? 'accepted' : verdict.rejection.reason
}

describe('contribution manifest', () => {
  it('reads back what was written', () => {
    const bytes = contributionManifestBytes(contribution)
    expect(parseContributionManifest(bytes)).toEqual({
      ok: true,
      value: { format: 'tapestry-contribution/1', ...contribution },
    })
    expect(reasonOf(forged({}))).toBe('accepted')
  })

  it('orders languages so that one report has one encoding', () => {
    const other = { ...entry, language: ensureLanguageTag('en') }
    const one = contributionManifestBytes({ ...contribution, languages: [entry, other] })
    const two = contributionManifestBytes({ ...contribution, languages: [other, entry] })
    expect(Buffer.from(one).equals(two)).toBe(true)
  })

  it.each<[string, object]>([
    ['another format', { format: 'tapestry-contribution/2' }],
    ['another federation form', { federation: 'sha1:00' }],
    ['round zero', { round: 0 }],
    ['a fractional round', { round: 1.5 }],
    ['no payload', { payloadBytes: 0 }],
    ['a huge payload', { payloadBytes: 2 ** 60 }],
    ['a short nonce', { nonce: '00' }],
    ['an upper-case digest', { payloadDigest: contribution.payloadDigest.toUpperCase() }],
    ['an unknown member', { surprise: 1 }],
    ['a path for a run', { run: '../demo' }],
  ])('calls %s MALFORMED', (_, changes) => expect(reasonOf(forged(changes))).toBe('MALFORMED'))

  it.each<[string, unknown]>([
    ['no languages', []],
    ['negative tokens', [{ ...entry, tokens: -1 }]],
    ['fractional documents', [{ ...entry, documents: 0.5 }]],
    ['absurdly many tokens', [{ ...entry, tokens: 1e16 }]],
    ['a negative loss', [{ ...entry, after: score(-1) }]],
    ['an absurd loss', [{ ...entry, after: score(1e9) }]],
    ['a negative error', [{ ...entry, after: { ...score(1), standardError: -1 } }]],
    ['nothing scored', [{ ...entry, before: score(1, 0), after: score(1, 0) }]],
    ['other texts before and after', [{ ...entry, after: score(1, 901) }]],
    ['an unknown language', [{ ...entry, language: 'qqq-nothing' }]],
    ['a community with a line break', [{ ...entry, community: 'a\nb' }]],
    ['a community that is an essay', [{ ...entry, community: 'a'.repeat(200) }]],
    ['a community that turns text around', [{ ...entry, community: 'a\u202eb' }]],
    ['a pair twice', [entry, { ...entry, tokens: 7 }]],
    ['a pair twice in other case', [entry, { ...entry, language: 'SW' }]],
    ['too many languages', Array.from({ length: 10_001 }, () => 0)],
  ])('calls %s INVALID_REPORT', (_, languages) => expect(reasonOf(forged({ languages }))).toBe('INVALID_REPORT'))

  it('keeps communities of one language apart, and joiners in their names', () => {
    const languages = [entry, { ...entry, community: '' }, { ...entry, community: 'क्‍ष' }]
    expect(reasonOf(forged({ languages }))).toBe('accepted')
  })

  it('refuses numbers that JSON lets through as infinities', () => {
    const text = Buffer.from(forged({})).toString().replace('"tokens":1000', '"tokens":1e999')
    expect(reasonOf(Buffer.from(text))).toBe('INVALID_REPORT')
  })

  it('refuses any other encoding of the same values', () => {
    const text = Buffer.from(forged({})).toString()
    const others = [` ${text}`, `${text}\n`, text.replace('"round":3', '"round":3.0'), text.replace('{', '{"round":3,')]
    for (const other of others) expect(reasonOf(Buffer.from(other))).toBe('MALFORMED')
    expect(reasonOf(Buffer.from(`\ufeff${text}`))).toBe('MALFORMED')
    expect(reasonOf(Buffer.from(text.replace('{', '{"__proto__":{},')))).toBe('MALFORMED')
  })

  it('refuses documents beyond the limit unread, and deep nesting', () => {
    expect(reasonOf(Buffer.alloc(MAX_DOCUMENT_BYTES + 1, '['))).toBe('MALFORMED')
    const depth = MAX_DOCUMENT_BYTES / 2
    expect(reasonOf(Buffer.from('['.repeat(depth) + ']'.repeat(depth)))).toBe('MALFORMED')
  })

  it('refuses to sign what would be refused', () => {
    const bad = { ...contribution, languages: [{ ...entry, before: score(Number.NaN) }] }
    expect(() => contributionManifestBytes(bad)).toThrowError(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

describe('evaluation report', () => {
  it('reads back what was written', () => {
    const bytes = evaluationReportBytes(evaluation)
    expect(parseEvaluationReport(bytes)).toEqual({
      ok: true,
      value: { format: 'tapestry-evaluation/1', ...evaluation },
    })
  })

  it('refuses different texts for base and candidate, and a contribution in its place', () => {
    const languages = [{ ...evaluation.languages[0], candidate: score(1, 5) }]
    const bytes = canonicalBytes(
      JSON.parse(JSON.stringify({ format: 'tapestry-evaluation/1', ...evaluation, languages })),
    )
    expect(parseEvaluationReport(bytes)).toMatchObject({ ok: false, rejection: { reason: 'INVALID_REPORT' } })
    const swapped = parseEvaluationReport(contributionManifestBytes(contribution))
    expect(swapped).toMatchObject({ ok: false, rejection: { reason: 'MALFORMED' } })
  })
})

describe('any input', () => {
  const finite = fc.double({ min: 0, max: 10_000, noNaN: true }).map((value) => value + 0)
  const scores = fc.record({ mean: finite, standardError: finite })
  const languages = fc.uniqueArray(
    fc.record({
      language: fc.constantFrom('sw', 'en', 'quz', 'pt-BR', 'als').map(ensureLanguageTag),
      community: fc.constantFrom('', 'Andes', 'Lamu'),
      tokens: fc.integer({ min: 0, max: 2 ** 40 }),
      documents: fc.nat(),
      scored: fc.integer({ min: 1, max: 2 ** 40 }),
      before: scores,
      after: scores,
    }),
    { selector: ({ language, community }) => `${language} ${community}`, minLength: 1 },
  )

  it('round-trips every valid report', () => {
    fc.assert(
      fc.property(languages, (entries) => {
        const reports = entries.map(({ scored, before, after, ...rest }) => ({
          ...rest,
          before: { ...before, tokens: scored },
          after: { ...after, tokens: scored },
        }))
        const verdict = parseContributionManifest(contributionManifestBytes({ ...contribution, languages: reports }))
        expect(verdict.ok && new Set(verdict.value.languages)).toEqual(new Set(reports))
      }),
    )
  })

  it('gives a verdict, never an exception, and accepts only canonical bytes', () => {
    const valid = Buffer.from(contributionManifestBytes(contribution))
    const damage = fc.tuple(fc.nat(valid.length - 1), fc.integer({ min: 0, max: 255 }))
    fc.assert(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 4 }), (changes) => {
        const bytes = Buffer.from(valid)
        for (const [at, value] of changes) bytes[at] = value
        const verdict = parseContributionManifest(bytes)
        if (verdict.ok) expect(bytes.equals(canonicalBytes(verdict.value))).toBe(true)
      }),
    )
    fc.assert(fc.property(fc.uint8Array(), (bytes) => !parseContributionManifest(bytes).ok))
    fc.assert(fc.property(fc.json(), (text) => !parseEvaluationReport(Buffer.from(text)).ok))
  })
})
