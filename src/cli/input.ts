import { z } from 'zod'
import { parseCodecText } from '../core/codec.ts'
import { ensureDigest } from '../core/digest.ts'
import { TapestryError, toTapestryError } from '../core/error.ts'
import {
  ensureChannelName,
  ensureFederationId,
  ensureMemberId,
  ensureNodeId,
  ensureRecordId,
  ensureRoundNumber,
  ensureRunId,
} from '../core/ids.ts'
import { parseCapsText, parseWeightingText } from '../core/influence-choice.ts'
import { ensureJurisdiction } from '../core/jurisdiction.ts'
import { ensureLanguageTag } from '../core/language-tag.ts'
import { parseMergingText } from '../core/model-merging.ts'
import { parseStrategyText } from '../core/strategy.ts'
import { addressesText, ensureAddresses } from '../participant/address.ts'
import { ensureDay } from '../policy/day.ts'
import { ensureReleaseLicence } from '../policy/licence.ts'
import { LICENCE_CLASSES } from '../policy/licence-table.ts'
import { parseDuration } from './duration.ts'

/** Text from the command line through a parser that throws; its message becomes the usage error. */
function parsedBy<T>(parse: (text: string) => T) {
  return z.string().transform((text, context): T => {
    try {
      return parse(text)
    } catch (thrown) {
      context.addIssue({ code: 'custom', message: toTapestryError(thrown).message })
      return z.NEVER
    }
  })
}

export const runId = parsedBy(ensureRunId)
export const memberId = parsedBy(ensureMemberId)
export const channelName = parsedBy(ensureChannelName)
export const federationId = parsedBy(ensureFederationId)
export const nodeId = parsedBy(ensureNodeId)
export const digest = parsedBy(ensureDigest)
export const jurisdiction = parsedBy(ensureJurisdiction)
export const recordId = parsedBy(ensureRecordId)
export const day = parsedBy(ensureDay)
export const releaseLicence = parsedBy(ensureReleaseLicence)
export const duration = parsedBy(parseDuration)
/** `name` or `name:parameter=number,...`. */
export const strategy = parsedBy(parseStrategyText)
export const codec = parsedBy(parseCodecText)
export const merging = parsedBy(parseMergingText)
export const weighting = parsedBy(parseWeightingText)
/** `kind=share,...`. */
export const caps = parsedBy(parseCapsText)

/** A whole number within bounds, written in decimal digits. */
export function wholeNumber(least: number, most: number) {
  return z.string().regex(/^\d+$/, 'not a whole number').transform(Number).pipe(z.number().min(least).max(most))
}

/** A number from 0, finite. */
export const measure = z
  .string()
  .regex(/^\d+(\.\d+)?(e[+-]?\d+)?$/i, 'not a number')
  .transform(Number)
  .pipe(z.number())

/** `run/number`. */
export const roundKey = parsedBy((text) => {
  const [, run, number] = /^(.+)\/(\d+)$/.exec(text) ?? []
  if (run === undefined) {
    throw new TapestryError(
      'INVALID_ARGUMENT',
      `not a round: ${JSON.stringify(text)} (expected RUN/NUMBER, such as first/7)`,
    )
  }
  return { run: ensureRunId(run), number: ensureRoundNumber(Number(number)) }
})

/** `host:port`, with brackets round IPv6 addresses; of several replicas with commas between them. */
export const addresses = parsedBy((text) => addressesText(ensureAddresses(text)))

/** Comma-separated language tags, each once. */
export const languageTags = parsedBy((text) => [
  ...new Set(text.split(',').map((tag) => ensureLanguageTag(tag.trim()))),
])

/** `name=file` pairs: an operator's office, and its public key. */
export const operatorFiles = z.array(
  parsedBy((text) => {
    const equals = text.indexOf('=')
    return { name: ensureMemberId(text.slice(0, Math.max(0, equals))), file: text.slice(equals + 1) }
  }),
)

/** `tag=name` pairs. */
export const communityPairs = z.array(
  parsedBy((text) => {
    const equals = text.indexOf('=')
    return { language: ensureLanguageTag(text.slice(0, Math.max(0, equals))), community: text.slice(equals + 1) }
  }),
)

/** `LicenseRef-name=class` pairs. */
export const licenceClasses = z
  .array(
    z.string().transform((text) => {
      const equals = text.indexOf('=')
      return [text.slice(0, Math.max(0, equals)), text.slice(equals + 1)] as const
    }),
  )
  .transform((pairs) => Object.fromEntries(pairs))
  .pipe(z.record(z.string(), z.enum(LICENCE_CLASSES)))
