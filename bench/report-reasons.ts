import type { FlowerFigure } from './flower.ts'
import { shortNumber } from './plot.ts'
import { isMet, type Target } from './report-parts.ts'
import type { Spread } from './statistics.ts'
import { mb } from './table.ts'
import type { TransferFigure } from './transfer.ts'

/** Why targets beside Flower are missed, from what the same run measured; empty when none is. */
export function flowerReasons(
  { nodes, megabytes, flower, tapestry }: FlowerFigure,
  targets: readonly Target[],
): string {
  if (targets.every(isMet)) return ''
  const bytes = nodes * tapestry.deltaBytes
  const fetching = bytes / (tapestry.limits.tls.median * 1e9)
  const parts = tapestry.physicalTlsSeconds + fetching
  const held = Object.entries(tapestry.peakOf).filter(([process]) => process !== 'driver')
  const peaks = held.map(([process, peak]) => `${process} ${mb(peak)}`).join(' and ')
  return `Where ${nodes} x ${megabytes} MB go: the nodes fetch and send ${shortNumber((2 * bytes) / 1e9)} GB. At the limits measured just before, passing them
through TLS, hashing and durably writing what is sent, and reading it once take ${shortNumber(parts)} s one after the other; a quarter of Flower's
round is ${shortNumber(flower.wallSeconds.median / 4)} s. Of Tapestry's ${shortNumber(tapestry.wallSeconds.median)} s the nodes fetch for ${shortNumber(tapestry.downloadSeconds.median)}, have sent everything after ${shortNumber(tapestry.uploadSeconds.median)}, and the rest
is accepting and merging. Flower encrypts, hashes and writes nothing here. Memory at the peak, MB resident: ${peaks}.
`
}

/** Why targets beside grpcio are missed, from what the same run measured; empty when none is. */
export function transferReasons({ bytes, rows }: TransferFigure, targets: readonly Target[]): string {
  const distances = rows.map(({ roundTripMs }) => roundTripMs)
  const [least, most] = [Math.min(...distances), Math.max(...distances)]
  if (targets.every(isMet) || least > 0) return ''
  const ways = (['upload', 'download'] as const).flatMap((direction) => {
    const at = (roundTripMs: number) =>
      rows.find((row) => row.direction === direction && row.roundTripMs === roundTripMs)
    const [near, far] = [at(least), at(most)]
    if (!near?.grpcio || !far?.grpcio) return []
    const seconds = (rate: Spread) => bytes / (rate.median * 1e6)
    const [ours, theirs] = [seconds(near.tapestry), seconds(near.grpcio)]
    const added = [seconds(far.tapestry) - ours, seconds(far.grpcio) - theirs].map(shortNumber).join(' and ')
    return [
      `${direction} ${shortNumber(ours)} s and ${shortNumber(theirs)} s without a distance, ${added} s more at ${most} ms`,
    ]
  })
  return `Where the time goes, Tapestry and grpcio without TLS: ${ways.join('; ')}. What is
missing without a distance is lost with each byte: Tapestry's are encrypted, hashed and durably written, and pass through one event loop
at either end ([0022](decisions/0022-bytes-past-node-http.md)).
`
}
