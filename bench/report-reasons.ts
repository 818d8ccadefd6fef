import type { FlowerFigure } from './flower.ts'
import { shortNumber } from './plot.ts'
import { isMet, type Target } from './report-parts.ts'
import { mb, ratio } from './table.ts'
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
export function transferReasons({ rows }: TransferFigure, targets: readonly Target[]): string {
  const near = rows.filter(({ roundTripMs }) => roundTripMs === 0)
  const far = rows.filter(({ roundTripMs }) => roundTripMs === Math.max(...rows.map((row) => row.roundTripMs)))
  if (targets.every(isMet) || near.length === 0) return ''
  const factors = (some: TransferFigure['rows']) =>
    some
      .flatMap(({ direction, tapestry, grpcio }) =>
        grpcio ? [`${ratio(tapestry.median, grpcio.median)} (${direction})`] : [],
      )
      .join(' and ')
  return `It is not the distance that costs: against grpcio the factor is ${factors(near)} with none, and ${factors(far)}
over the longest way. What is missing is processor time: both ends and the way between them share the machine's processors, and
Tapestry's ends encrypt, hash and write, each byte through JavaScript's event loop (decisions/0022-bytes-past-node-http.md).
`
}
