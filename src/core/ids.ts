import { TapestryError } from './error.ts'

declare const idBrand: unique symbol
type Id<Name extends string> = string & { readonly [idBrand]: Name }

/** `node-` and the first 32 hex characters of the SHA-256 of the node's genesis record. */
export type NodeId = Id<'node'>
/** An organisation with governance voice; a slug chosen by the operator who invites it. */
export type MemberId = Id<'member'>
/** A training programme; a slug chosen by the operator who creates it. */
export type RunId = Id<'run'>
/** A moving name for checkpoints, such as `global` or `eu`. */
export type ChannelName = Id<'channel'>
/** What a node calls one of its dataset records; a slug chosen by the steward. */
export type RecordId = Id<'record'>
/** `sha256:<hex>` fingerprint of the federation's certificate authority: one string pins everything. */
export type FederationId = Id<'federation'>

const SLUG = /^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/
const NODE = /^node-[0-9a-f]{32}$/
const FEDERATION = /^sha256:[0-9a-f]{64}$/

function ensure<T extends string>(text: string, pattern: RegExp, what: string, form: string): T {
  if (!pattern.test(text))
    throw new TapestryError('INVALID_ARGUMENT', `not a ${what}: "${text.slice(0, 80)}" (expected ${form})`)
  return text as T
}

const SLUG_FORM = '1-64 of a-z, 0-9, ".", "_", "-", starting and ending with a letter or digit'

export const ensureNodeId = (text: string): NodeId => ensure(text, NODE, 'node id', 'node-<32 hex>')
export const ensureMemberId = (text: string): MemberId => ensure(text, SLUG, 'member id', SLUG_FORM)
export const ensureRunId = (text: string): RunId => ensure(text, SLUG, 'run id', SLUG_FORM)
export const ensureChannelName = (text: string): ChannelName => ensure(text, SLUG, 'channel name', SLUG_FORM)
export const ensureRecordId = (text: string): RecordId => ensure(text, SLUG, 'record id', SLUG_FORM)
export const ensureFederationId = (text: string): FederationId =>
  ensure(text, FEDERATION, 'federation id', 'sha256:<64 hex>')

/** A round is addressed by its run and its number, counted from 1. */
export type RoundKey = { readonly run: RunId; readonly number: number }

/** @throws TapestryError INVALID_ARGUMENT unless `number` is an integer from 1 to 2^31-1. */
export function ensureRoundNumber(number: number): number {
  if (!Number.isInteger(number) || number < 1 || number > 0x7fffffff) {
    throw new TapestryError('INVALID_ARGUMENT', `not a round number: ${number} (expected a whole number from 1)`)
  }
  return number
}
