import { connect } from 'node:net'
import { fileBlocks } from '../src/core/file-blocks.ts'
import { RAW_BODY } from '../src/core/raw-body.ts'
import { ArtifactService } from '../src/gen/proto/tapestry/v1/artifact_pb.ts'
import type { NodeClient } from '../src/participant/client.ts'
import type { DeltaFile } from './workload.ts'

const BLOCK_BYTES = 2 ** 20

/** Uploads as a node does, but to plain-listener.ts. @throws unless all of it was stored and its digest checked. */
export async function putPlain(client: NodeClient, port: number, { digest, size, path }: DeltaFile): Promise<void> {
  await client.call(ArtifactService.method.announceArtifact, { digest, size: BigInt(size) })
  const socket = connect(port, '127.0.0.1')
  const answered = new Promise<string>((resolve, reject) => {
    let text = ''
    socket.on('data', (bytes) => (text += bytes))
    socket.on('error', reject).once('close', () => resolve(text))
  })
  const write = (bytes: Uint8Array | string) => new Promise((resolve) => socket.write(bytes, resolve))
  const headers = [
    `Content-Length: ${size}`,
    `Content-Range: bytes 0-${size - 1}/${size}`,
    'Connection: close, Upgrade',
  ]
  const head = [`PUT /${client.membership.node}/${digest} HTTP/1.1`, 'Host: bench', `Upgrade: ${RAW_BODY}`, ...headers]
  await write(`${head.join('\r\n')}\r\n\r\n`)
  for await (const block of fileBlocks(path, { start: 0, end: size }, BLOCK_BYTES)) await write(block)
  const answer = await answered
  if (!answer.startsWith('HTTP/1.1 201 ')) throw new Error(`the upload was answered with ${answer.split('\r\n', 1)[0]}`)
}
