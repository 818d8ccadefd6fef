import { createReadStream } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { ArtifactService } from '../src/gen/proto/tapestry/v1/artifact_pb.ts'
import type { NodeClient } from '../src/participant/client.ts'
import type { DeltaFile } from './workload.ts'

const BLOCK_BYTES = 2 ** 20

/** Uploads as a node does, but to plain-listener.ts. @throws unless all of it was stored and its digest checked. */
export async function putPlain(client: NodeClient, port: number, { digest, size, path }: DeltaFile): Promise<void> {
  await client.call(ArtifactService.method.announceArtifact, { digest, size: BigInt(size) })
  const headers = { 'Content-Length': size, 'Content-Range': `bytes 0-${size - 1}/${size}` }
  const url = `/${client.membership.node}/${digest}`
  const sent = request({ host: '127.0.0.1', port, method: 'PUT', path: url, headers })
  const answered = new Promise<IncomingMessage>((resolve, reject) => sent.on('response', resolve).on('error', reject))
  await pipeline(createReadStream(path, { highWaterMark: BLOCK_BYTES }), sent)
  const response = await answered
  response.resume()
  if (response.statusCode !== 201) throw new Error(`the upload was answered with ${response.statusCode}`)
}
