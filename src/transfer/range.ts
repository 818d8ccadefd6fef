import { TapestryError } from '../core/error.ts'

/** First and last byte, both inclusive. */
export type Span = { readonly start: number; readonly end: number }

/** What a Range header asks for: everything, one span, or bytes that are not there. */
export type RangeChoice =
  | { readonly kind: 'whole' }
  | { readonly kind: 'unsatisfiable' }
  | ({ readonly kind: 'span' } & Span)

/**
 * Reads a Range header (RFC 9110, 14.2). Headers of another form, and of several ranges, are ignored as it allows.
 * @param size bytes of the whole.
 */
export function chooseRange(header: string | undefined, size: number): RangeChoice {
  const [, first, last] = /^bytes=(\d{0,16})-(\d{0,16})$/.exec(header?.trim() ?? '') ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return { kind: 'whole' }
  if (first === '') return suffix(Number(last), size)
  const start = Number(first)
  if (last !== '' && Number(last) < start) return { kind: 'whole' }
  if (start >= size) return { kind: 'unsatisfiable' }
  return { kind: 'span', start, end: last === '' ? size - 1 : Math.min(Number(last), size - 1) }
}

function suffix(length: number, size: number): RangeChoice {
  if (length === 0 || size === 0) return { kind: 'unsatisfiable' }
  return { kind: 'span', start: Math.max(0, size - length), end: size - 1 }
}

/** The part of an artifact that a request carries. */
export type Part = Span & { readonly size: number }

/**
 * Reads where a request's body belongs: Content-Range, or all of it by Content-Length.
 * @throws TapestryError INVALID_ARGUMENT when the headers say nothing, or contradict each other.
 */
export function partOf(contentRange: string | undefined, contentLength: string | undefined): Part {
  const length = contentLength === undefined ? undefined : whole(contentLength)
  if (contentRange === undefined) {
    if (!length) throw new TapestryError('INVALID_ARGUMENT', 'Content-Range or Content-Length is missing')
    return { start: 0, end: length - 1, size: length }
  }
  const [, start, end, size] = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/.exec(contentRange) ?? []
  if (start === undefined || end === undefined || size === undefined) throw contradiction()
  const part = { start: whole(start), end: whole(end), size: whole(size) }
  if (part.start > part.end || part.end >= part.size) throw contradiction()
  if (length !== undefined && length !== part.end - part.start + 1) throw contradiction()
  return part
}

function whole(digits: string): number {
  const value = Number(digits)
  if (/^\d{1,16}$/.test(digits) && Number.isSafeInteger(value)) return value
  throw contradiction()
}

function contradiction(): TapestryError {
  return new TapestryError('INVALID_ARGUMENT', 'Content-Range does not fit: expected bytes <start>-<end>/<size>')
}
