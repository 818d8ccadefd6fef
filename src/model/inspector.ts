import type { Worker } from 'node:worker_threads'
import type { Codec } from '../core/codec.ts'
import { type ErrorCode, TapestryError } from '../core/error.ts'
import type { Verdict } from '../core/rejection.ts'
import { startWorker } from '../core/worker-thread.ts'
import type { Inspection, InspectionLimits } from './inspect.ts'
import type { TensorSpec } from './tensor.ts'

export type InspectionRequest = {
  readonly id: number
  readonly path: string
  readonly expected: readonly TensorSpec[]
  readonly codec: Codec
  readonly limits: InspectionLimits
}

export type InspectionReply =
  | { readonly id: number; readonly verdict: Verdict<Inspection> }
  | { readonly id: number; readonly failure: { code: ErrorCode; message: string; detail: string } }

type Waiting = { resolve(verdict: Verdict<Inspection>): void; reject(error: TapestryError): void }

/**
 * Runs inspections on one worker thread, so that a large upload never blocks the event loop. The
 * thread starts with the first inspection, keeps no process alive while it has nothing to do, and
 * is replaced after a crash.
 */
export class Inspector {
  private worker: Worker | undefined
  private readonly waiting = new Map<number, Waiting>()
  private next = 0

  /** `inspectUpdate` on the worker thread. @throws TapestryError as it does, and INTERNAL when the thread dies */
  inspect(
    path: string,
    expected: readonly TensorSpec[],
    codec: Codec,
    limits: InspectionLimits,
  ): Promise<Verdict<Inspection>> {
    const id = this.next++
    const worker = this.start()
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject })
      worker.ref()
      worker.postMessage({ id, path, expected, codec, limits } satisfies InspectionRequest)
    })
  }

  /** Stops the thread; what it was inspecting fails with INTERNAL. The next inspection starts another. */
  async close(): Promise<void> {
    await this.worker?.terminate()
  }

  private start(): Worker {
    if (this.worker) return this.worker
    const worker = startWorker('./inspector-worker', import.meta.url)
    worker.on('message', (reply: InspectionReply) => this.settle(worker, reply))
    worker.on('error', (cause) => this.abandon(worker, cause))
    worker.on('exit', () => this.abandon(worker, undefined))
    this.worker = worker
    return worker
  }

  private settle(worker: Worker, reply: InspectionReply): void {
    const waiting = this.waiting.get(reply.id)
    this.waiting.delete(reply.id)
    if (this.waiting.size === 0) worker.unref()
    if ('verdict' in reply) {
      waiting?.resolve(reply.verdict)
      return
    }
    const { code, message, detail } = reply.failure
    waiting?.reject(new TapestryError(code, message, { cause: new Error(detail) }))
  }

  private abandon(worker: Worker, cause: unknown): void {
    if (this.worker !== worker) return
    this.worker = undefined
    const failed = [...this.waiting.values()]
    this.waiting.clear()
    for (const { reject } of failed) reject(new TapestryError('INTERNAL', 'the inspection was interrupted', { cause }))
  }
}

const shared = new Inspector()

/** `inspectUpdate`, on a worker thread that the whole process shares. */
export function inspectInWorker(
  path: string,
  expected: readonly TensorSpec[],
  codec: Codec,
  limits: InspectionLimits,
): Promise<Verdict<Inspection>> {
  return shared.inspect(path, expected, codec, limits)
}
