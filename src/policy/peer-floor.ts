import { compareText } from '../core/order.ts'
import type { Draws, Evidence } from './evidence.ts'
import { judgeTexts, type QualityVerdict } from './quality-floor.ts'
import { REVIEWERS } from './reviewers.ts'
import { withoutExtremes } from './voices.ts'

/** One reviewer's answer about one contribution. */
export type PeerReview = {
  /** The reviewer's member: many nodes of one member are one voice. */
  readonly voice: string
  /** Base, and base with the contribution alone, on the reviewer's own held-out text; empty when it did not say. */
  readonly languages: readonly (Evidence & { readonly language: string })[]
}

/**
 * The floor `peers`: base against base plus the contribution alone, on the text of nodes of other members in the
 * languages that they share. In each language a third of the voices is left out at each end, so that of three one
 * may lie either way; what remains counts alike, each language alike. Below it is what makes them worse beyond
 * noise, as for `judgePublic`. A language with fewer than {@link REVIEWERS} voices is not judged: one or two
 * could put out a rival at will. A contribution without a judged language passes, and the verdict says so.
 */
export function judgePeers(reviews: readonly PeerReview[], draws: Draws): QualityVerdict {
  const heard = reviews.filter(({ languages }) => languages.length > 0)
  const judged = [...textsByLanguage(heard).values()].filter((voices) => voices.length >= REVIEWERS)
  if (judged.length === 0) return { quality: null, below: null, peers: tooFew(reviews.length, heard.length) }
  const counted = judged.flatMap((voices) => {
    const kept = withoutExtremes(voices)
    const share = 1 / judged.length / kept.length
    return kept.flatMap(({ texts }) => texts.map((text) => ({ text, share: share / texts.length })))
  })
  const texts = counted.map(({ text }) => text)
  const shares = counted.map(({ share }) => share)
  const verdict = judgeTexts(texts, shares, draws, `on the text of ${heard.length} peers`)
  return { ...verdict, peers: `scored by ${heard.length} of ${reviews.length} peers` }
}

function tooFew(asked: number, heard: number): string {
  if (asked === 0) return 'no peer has text of its languages: not judged by any'
  return `${heard} of ${asked} peers scored it, fewer than ${REVIEWERS} in any language: not judged by them`
}

type Voice = { readonly voice: string; readonly texts: readonly Evidence[]; readonly change: number }

/** The voices about each language, in a fixed order. */
function textsByLanguage(reviews: readonly PeerReview[]): Map<string, Voice[]> {
  const languages = new Map<string, Map<string, Evidence[]>>()
  for (const { voice, languages: texts } of reviews) {
    for (const text of texts) {
      const voices = languages.get(text.language.toLowerCase()) ?? new Map<string, Evidence[]>()
      voices.set(voice, [...(voices.get(voice) ?? []), text])
      languages.set(text.language.toLowerCase(), voices)
    }
  }
  return new Map(
    [...languages]
      .sort(([a], [b]) => compareText(a, b))
      .map(([language, voices]) => [
        language,
        [...voices].map(([voice, texts]) => ({ voice, texts, change: changeOf(texts) })),
      ]),
  )
}

function changeOf(texts: readonly Evidence[]): number {
  return texts.reduce((sum, { base, candidate }) => sum + candidate.mean - base.mean, 0) / texts.length
}
