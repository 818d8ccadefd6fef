// The coordinator's own way of taking an upload, on a plain socket: what a round costs without TLS, which the product
// never does without. A process beside the coordinator, on its database and blobs. Started by round.ts over IPC.
import { createServer } from 'node:http'
import { Socket } from 'node:net'
import { pino } from 'pino'
import { z } from 'zod'
import { openCoordinator } from '../src/cli/coordinator-parts.ts'
import { systemClock } from '../src/core/clock.ts'
import { ensureDigest } from '../src/core/digest.ts'
import { ensureNodeId } from '../src/core/ids.ts'
import { takeOver } from '../src/transfer/raw-body.ts'
import { receiveArtifact } from '../src/transfer/upload.ts'

const { context } = await openCoordinator({
  dir: process.argv[2] ?? '',
  flags: {},
  env: {},
  clock: systemClock,
  log: pino({ level: 'silent' }),
})

const server = createServer()
server.on('upgrade', (request, connection, head) => {
  if (!(connection instanceof Socket)) return
  const { response, body } = takeOver(request, connection, head)
  const [, node = '', digest = ''] = (request.url ?? '').split('/')
  receiveArtifact(context, ensureNodeId(node), ensureDigest(digest), { request, body }, response).catch((error) => {
    process.stderr.write(`${error}\n`)
    process.exit(1)
  })
})
server.listen(0, '127.0.0.1', () => {
  const { port } = z.object({ port: z.number() }).parse(server.address())
  process.send?.({ type: 'listening', port })
})
process.once('disconnect', () => process.exit(0))
