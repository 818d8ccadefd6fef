import { readFile } from 'node:fs/promises'
import { blockSquares } from '../src/aggregation/block-squares.ts'
import { F32 } from '../src/core/codec.ts'
import { denseScans } from '../src/model/dense-scan.ts'
import { type InspectionLimits, judgeDelta } from '../src/model/judge.ts'
import { SafetensorsScan } from '../src/model/safetensors-scan.ts'
import type { Summary } from '../src/model/summary.ts'
import type { TensorSpec } from '../src/model/tensor.ts'
import { encodedScans } from '../src/model/update-codec/encoded-scans.ts'

/** What the coordinator learns about bytes that arrive in the given pieces. */
export function summaryOfPieces(pieces: readonly Uint8Array[], squares = blockSquares()): Summary {
  const size = pieces.reduce((sum, piece) => sum + piece.byteLength, 0)
  const scan = new SafetensorsScan(size, encodedScans(denseScans(squares)))
  for (const piece of pieces) scan.push(piece)
  return scan.finish()
}

/** What the coordinator would say about a file. */
export async function inspectDelta(
  path: string,
  expected: readonly TensorSpec[],
  limits: InspectionLimits,
  codec = F32,
) {
  return judgeDelta(summaryOfPieces([await readFile(path)]), expected, codec, limits)
}
