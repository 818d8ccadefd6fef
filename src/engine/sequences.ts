import { BOS_ID, EOS_ID, PAD_ID } from '../model/tokenizer.ts'
import { type Random, shuffled } from '../plan/random.ts'
import type { Document } from './dataset.ts'

/** A run of tokens to read and, for each, the token to predict. Labels of PAD and BOS are not counted. */
export type Sequence = { readonly ids: readonly number[]; readonly labels: readonly number[] }

type Drawn = {
  readonly sequence: Sequence
  readonly begun: number
  readonly records: ReadonlyMap<string, number>
}

/** Held-out text is cut into at least this many sequences where it can be, or there is no spread to measure. */
const MIN_SEQUENCES = 8

/**
 * Whether predicting this label says something about the text: padding is none, and the BOS that
 * follows every EOS is certain.
 */
export function isCounted(label: number): boolean {
  return label !== PAD_ID && label !== BOS_ID
}

/** A document as the model reads it: BOS, its bytes, EOS. */
function tokensOf({ bytes }: Document): number[] {
  return [BOS_ID, ...bytes, EOS_ID]
}

/** Tokens of these documents that count as labels: their bytes and one EOS each. */
export function countedTokens(documents: readonly Document[]): number {
  return documents.reduce((sum, { bytes }) => sum + bytes.length + 1, 0)
}

/**
 * An endless stream of full sequences over `documents`: shuffled, joined, cut; shuffled anew at the
 * end. Consecutive sequences share one token, so that every token is predicted once.
 * @returns a sequence, the number of documents begun so far, and the counted tokens of the sequence by record.
 */
export function* trainingSequences(
  documents: readonly Document[],
  length: number,
  random: Random,
): Generator<Drawn, never> {
  let buffer: number[] = []
  /** Record of each token in the buffer. */
  let records: (string | undefined)[] = []
  let begun = 0
  for (;;) {
    for (const document of shuffled(documents, random)) {
      const tokens = tokensOf(document)
      buffer.push(...tokens)
      records.push(...tokens.map(() => document.record))
      begun++
      let start = 0
      for (; buffer.length - start > length; start += length) {
        const sequence = sequenceAt(buffer, start, length)
        yield { sequence, begun, records: countedByRecord(sequence, records.slice(start + 1, start + 1 + length)) }
      }
      buffer = buffer.slice(start)
      records = records.slice(start)
    }
  }
}

/** @param records of each label */
function countedByRecord({ labels }: Sequence, records: readonly (string | undefined)[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const [index, label] of labels.entries()) {
    const record = records[index]
    if (record !== undefined && isCounted(label)) counts.set(record, (counts.get(record) ?? 0) + 1)
  }
  return counts
}

/**
 * The first `most` sequences of held-out text, in order, the last one padded. Short texts are cut
 * into shorter sequences, padded to `length`: there are always at least two, since a document is at
 * least one byte and EOS.
 */
export function scoringSequences(documents: readonly Document[], length: number, most: number): Sequence[] {
  const wanted = length * most + 1
  const tokens: number[] = []
  for (const document of documents) {
    if (tokens.length >= wanted) break
    tokens.push(...tokensOf(document))
  }
  const stride = Math.min(length, Math.max(1, Math.ceil((tokens.length - 1) / MIN_SEQUENCES)))
  const sequences: Sequence[] = []
  for (let start = 0; start < tokens.length - 1 && sequences.length < most; start += stride) {
    sequences.push(padded(sequenceAt(tokens, start, stride), length))
  }
  return sequences
}

/** The sequence of up to `length` predictions that begins at `start`. */
function sequenceAt(tokens: readonly number[], start: number, length: number): Sequence {
  const labels = tokens.slice(start + 1, start + 1 + length)
  return { ids: tokens.slice(start, start + labels.length), labels }
}

/** Fills a sequence up to `length` with padding, which counts nothing. */
function padded({ ids, labels }: Sequence, length: number): Sequence {
  const padding = new Array<number>(length - ids.length).fill(PAD_ID)
  return { ids: [...ids, ...padding], labels: [...labels, ...padding] }
}
