import { z } from 'zod'
import { REJECTION_REASONS, type Rejection } from '../core/rejection.ts'
import { DTYPE_BYTES, type Dtype, type TensorSpec } from './tensor.ts'
import type { TensorFacts } from './tensor-scan.ts'

/** Changes with what a summary says: one of another format is made again from the bytes. */
const SUMMARY_FORMAT = 'tapestry-summary/2'

/** One tensor of a file, and what its values are like. */
export type TensorSummary = TensorSpec & TensorFacts

/**
 * Everything that judging a safetensors file needs, so that the file need not be read again. It says nothing about
 * what the file is for: that is known only when somebody submits it.
 */
export type Summary =
  | {
      readonly kind: 'tensors'
      /** Size of the file. */
      readonly bytes: number
      /** Of them, the length field and the header. */
      readonly headerBytes: number
      /** What the metadata names as the codec of its values; absent where they name none. */
      readonly codec?: string | undefined
      /** In file order. */
      readonly tensors: readonly TensorSummary[]
    }
  /** Not a safetensors file, and why. */
  | { readonly kind: 'unreadable'; readonly rejection: Rejection }

const count = z.int().min(0)
const nonFinite = z.strictObject({ index: count, value: z.enum(['NaN', 'Infinity', '-Infinity']) })
const dtype = z.custom<Dtype>((value) => typeof value === 'string' && Object.hasOwn(DTYPE_BYTES, value))
const tensor = z.strictObject({
  name: z.string(),
  dtype,
  shape: z.array(count),
  squares: z.number().nullable(),
  nonFinite: nonFinite.nullable(),
  malformed: z.string().optional(),
  lastIndex: count.optional(),
})

const stored: z.ZodType<{ readonly format: typeof SUMMARY_FORMAT; readonly summary: Summary }> = z.strictObject({
  format: z.literal(SUMMARY_FORMAT),
  summary: z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('tensors'),
      bytes: count,
      headerBytes: count,
      codec: z.string().optional(),
      tensors: z.array(tensor),
    }),
    z.strictObject({
      kind: z.literal('unreadable'),
      rejection: z.strictObject({ reason: z.enum(REJECTION_REASONS), detail: z.string() }),
    }),
  ]),
})

/** A summary as text that can be kept. */
export function summaryText(summary: Summary): string {
  return JSON.stringify({ format: SUMMARY_FORMAT, summary })
}

/** Reads what {@link summaryText} wrote; undefined for anything else, such as what another build wrote. */
export function parseSummary(text: string): Summary | undefined {
  try {
    return stored.safeParse(JSON.parse(text)).data?.summary
  } catch {
    return undefined
  }
}
