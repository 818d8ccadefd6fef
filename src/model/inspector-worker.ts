import { parentPort } from 'node:worker_threads'
import { toTapestryError } from '../core/error.ts'
import type { InspectionReply, InspectionRequest } from './inspector.ts'
import { inspectUpdate } from './update-codec/inspect-update.ts'

/** The worker's side of inspector.ts: one reply for each request, in any order. */
async function reply({ id, path, expected, codec, limits }: InspectionRequest): Promise<InspectionReply> {
  try {
    return { id, verdict: await inspectUpdate(path, expected, codec, limits) }
  } catch (thrown) {
    const { code, message } = toTapestryError(thrown)
    return { id, failure: { code, message, detail: String(thrown) } }
  }
}

parentPort?.on('message', (request: InspectionRequest) => {
  void reply(request).then((answer) => parentPort?.postMessage(answer))
})
