import { assertNever } from '../core/assert.ts'
import type { Json } from '../core/canonical-json.ts'
import { codecText } from '../core/codec.ts'
import type { TapestryError } from '../core/error.ts'
import type { RoundKey } from '../core/ids.ts'
import type { NodeEvent } from '../participant/node-event.ts'
import { formatDuration } from './duration.ts'
import { formatBytes, printable, shortDigest } from './terminal.ts'

type JsonMembers = { readonly [key: string]: Json | undefined }

/** An event as one line of JSON: `type`, then `run` and `round` where it belongs to one. */
export function nodeEventJson(event: NodeEvent): JsonMembers {
  const { type } = event
  const place: JsonMembers = 'key' in event ? { run: event.key.run, round: event.key.number } : {}
  return { type, ...place, ...detailsOf(event) }
}

function detailsOf(event: NodeEvent): JsonMembers {
  switch (event.type) {
    case 'connected':
    case 'certificate-renewed':
    case 'joined':
    case 'stood-aside':
      return {}
    case 'round': {
      const { phase, standing, counts, deadlineMs, last } = event.view
      return { phase, standing, ...counts, deadlineMs, last }
    }
    case 'training':
      return { ...event.progress }
    case 'trained': {
      const { languages, steps, wallMs, bytes, reused, excluded } = event
      return { languages: languages.map((report) => ({ ...report })), steps, wallMs, bytes, reused, excluded }
    }
    case 'reviewed':
      return { contributions: event.contributions }
    case 'evaluated':
      return { languages: event.languages.map((report) => ({ ...report })) }
    case 'disconnected':
      return { error: errorJson(event.error), retryInMs: event.retryInMs }
    case 'retrying':
      return { action: event.action, error: errorJson(event.error), retryInMs: event.retryInMs }
    case 'set-aside':
      return { action: event.action, error: errorJson(event.error) }
    case 'ignored':
      return { error: errorJson(event.error) }
    case 'too-late':
      return { action: event.action }
    case 'downloading':
    case 'uploading':
      return { done: event.done, total: event.total }
    case 'uploaded':
      return { bytes: event.bytes, codec: codecText(event.codec), f32Bytes: event.f32Bytes }
    case 'accepted':
      return { contribution: event.contribution, index: event.index }
    case 'dataset-excluded':
      return { dataset: event.dataset, reason: event.reason, detail: event.detail }
    case 'declined':
      return { rule: event.rule, detail: event.detail }
    case 'refused':
      return { what: event.what, reason: event.reason, detail: event.detail }
    case 'published':
      return { checkpoint: event.checkpoint, last: event.last }
    case 'rejected':
    case 'failed':
      return { reason: event.reason, last: event.last }
    default:
      return assertNever(event)
  }
}

const errorJson = ({ code, message }: TapestryError) => ({ code, message })

/** An event for people; undefined for those that only move a progress line. */
export function nodeEventText(event: NodeEvent): string | undefined {
  const sentence = sentenceOf(event)
  if (sentence === undefined) return undefined
  return 'key' in event ? `${placeOf(event.key)}: ${sentence}` : sentence
}

const placeOf = ({ run, number }: RoundKey) => `${run}/${number}`

function sentenceOf(event: NodeEvent): string | undefined {
  switch (event.type) {
    case 'connected':
      return 'connected, waiting for rounds'
    case 'disconnected':
      return `no connection (${event.error.message}); trying again in ${formatDuration(event.retryInMs)}`
    case 'certificate-renewed':
      return 'certificate renewed'
    case 'round':
    case 'downloading':
    case 'uploading':
    case 'training':
      return undefined
    case 'joined':
      return 'joined'
    case 'stood-aside':
      return 'takes no part, as this node was told'
    case 'trained': {
      const { languages, steps, wallMs, reused } = event
      const how = reused ? 'trained before the restart' : `trained ${steps} steps in ${formatDuration(wallMs)}`
      const losses = languages.map((l) => `${l.language} ${l.before.mean.toFixed(3)} > ${l.after.mean.toFixed(3)}`)
      const { documents, files } = event.excluded
      const kept = documents + files > 0 ? `; kept out ${documents} lines and ${files} files as protected` : ''
      return `${how}; held-out loss ${losses.join(', ')}${kept}`
    }
    case 'uploaded':
      return uploadText(event)
    case 'accepted':
      return event.index === undefined
        ? 'contribution accepted, without a receipt'
        : `contribution accepted, entry ${event.index} of the log`
    case 'dataset-excluded':
      return `${event.dataset === '' ? 'text' : event.dataset} is left out: ${event.reason}: ${printable(event.detail)}`
    case 'declined':
      return `declined by this node (${event.rule}): ${printable(event.detail)}`
    case 'refused':
      return `${event.what} refused: ${printable(event.reason)}: ${printable(event.detail)}`
    case 'evaluated': {
      const losses = event.languages.map(
        (l) => `${l.language} ${l.base.mean.toFixed(3)} > ${l.candidate.mean.toFixed(3)}`,
      )
      return `candidate evaluated: ${losses.join(', ')}`
    }
    case 'reviewed':
      return `scored ${event.contributions} contribution${event.contributions === 1 ? '' : 's'} of other members`
    case 'retrying':
      return `${event.action}: ${event.error.message}; trying again in ${formatDuration(event.retryInMs)}`
    case 'too-late':
      return `${event.action}: the round moved on`
    case 'set-aside':
      return `${event.action} failed: ${event.error.message}`
    case 'published':
      return `published checkpoint ${shortDigest(event.checkpoint)}`
    case 'rejected':
    case 'failed':
      return `${event.type}: ${printable(event.reason)}`
    case 'ignored':
      return `ignored: ${event.error.message}`
    default:
      return assertNever(event)
  }
}

function uploadText({ bytes, codec, f32Bytes }: Extract<NodeEvent, { type: 'uploaded' }>): string {
  const share = codec.name === 'f32' ? '' : ` (${codecText(codec)}, ${((bytes / f32Bytes) * 100).toFixed(1)}% of F32)`
  return `uploaded ${formatBytes(bytes)}${share}`
}

/** A line that is redrawn while something moves; undefined for other events. */
export function nodeProgressText(event: NodeEvent): { readonly text: string; readonly fraction: number } | undefined {
  switch (event.type) {
    case 'training': {
      const { step, steps, loss } = event.progress
      return {
        text: `${placeOf(event.key)}: training, step ${step} of ${steps}, loss ${loss.toFixed(3)}`,
        fraction: step / steps,
      }
    }
    case 'downloading':
    case 'uploading': {
      const amount = `${formatBytes(event.done)} of ${formatBytes(event.total)}`
      return {
        text: `${placeOf(event.key)}: ${event.type} ${amount}`,
        fraction: event.total > 0 ? event.done / event.total : 1,
      }
    }
    default:
      return undefined
  }
}
