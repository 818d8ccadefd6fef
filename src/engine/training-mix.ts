import type { Random } from '../plan/random.ts'
import type { Corpus } from './dataset.ts'
import { isCounted, type Sequence, trainingSequences } from './sequences.ts'

/** What has been drawn from one corpus: counted tokens, in all and by record, and documents begun (again in every pass). */
export type Draw = { readonly tokens: number; readonly begun: number; readonly records: ReadonlyMap<string, number> }

type Stream = { readonly corpus: Corpus; readonly sequences: ReturnType<typeof trainingSequences> }

/** Draws training sequences so that every language gets an equal share, and so every community of a language. */
export class TrainingMix {
  readonly #languages: readonly (readonly Stream[])[]
  readonly #drawn = new Map<Corpus, Draw>()
  #turn = 0

  /** @param randomFor gives each corpus its own random numbers, so that adding one changes no other */
  constructor(corpora: readonly Corpus[], length: number, randomFor: (corpus: string) => Random) {
    const languages = new Map<string, Stream[]>()
    for (const corpus of corpora) {
      const language = corpus.language.toLowerCase()
      const random = randomFor(JSON.stringify([language, corpus.community]))
      const stream = { corpus, sequences: trainingSequences(corpus.train, length, random) }
      languages.set(language, [...(languages.get(language) ?? []), stream])
    }
    this.#languages = [...languages.values()]
  }

  /** The next sequence, of full length. */
  next(): Sequence {
    const turn = this.#turn++
    const communities = this.#languages[turn % this.#languages.length] ?? []
    const stream = communities[Math.floor(turn / this.#languages.length) % communities.length]
    if (!stream) throw new Error('there is nothing to draw from')
    const { sequence, begun, records: drawn } = stream.sequences.next().value
    const before = this.drawn(stream.corpus)
    const tokens = before.tokens + sequence.labels.filter(isCounted).length
    const records = new Map(before.records)
    for (const [record, count] of drawn) records.set(record, (records.get(record) ?? 0) + count)
    this.#drawn.set(stream.corpus, { tokens, begun, records })
    return sequence
  }

  drawn(corpus: Corpus): Draw {
    return this.#drawn.get(corpus) ?? { tokens: 0, begun: 0, records: new Map() }
  }
}
