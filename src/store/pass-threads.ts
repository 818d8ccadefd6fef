import { availableParallelism } from 'node:os'
import type { Worker } from 'node:worker_threads'
import { TapestryError } from '../core/error.ts'
import { startWorker } from '../core/worker-thread.ts'
import type { Block } from './block-pool.ts'
import type { Answer, PassTask, Question, Reading } from './reading.ts'

/** A pass over bytes that this process is being sent. */
export type Pass = {
  /** Resolves when the thread is done with the block. @throws the system's error (ENOSPC ...); INTERNAL when the thread ended */
  push(block: Block, length: number): Promise<void>
  /** Call it once, when all blocks were pushed. */
  finish(): Promise<Reading>
  /** Forgets the pass. Harmless after {@link Pass.finish}. */
  drop(): void
}

/** Beyond a few the disk, not the processor, is what they would compete for. */
const MOST_THREADS = 4

type Waiting = { readonly resolve: (reading: Reading | undefined) => void; readonly reject: (error: Error) => void }

/**
 * A small fixed set of threads that write, hash and summarise. They start when they are needed, keep no process alive
 * while they have nothing to do, and are replaced after a crash.
 */
export class PassThreads {
  readonly #threads: PassThread[]
  #lastPass = 0

  constructor(count = Math.min(MOST_THREADS, Math.max(2, availableParallelism()))) {
    this.#threads = Array.from({ length: count }, () => new PassThread())
  }

  begin(task: PassTask): Pass {
    const thread = this.#idlest()
    const pass = ++this.#lastPass
    thread.passes += 1
    let dropped = false
    const begun = thread.ask((id) => ({ kind: 'begin', id, pass, task }))
    // The first block tells of it.
    begun.catch(() => undefined)
    return {
      push: async (block, length) => {
        await thread.ask((id) => ({ kind: 'block', id, pass, block, length }))
      },
      finish: async () => required(await thread.ask((id) => ({ kind: 'finish', id, pass }))),
      drop: () => {
        if (dropped) return
        dropped = true
        thread.passes -= 1
        thread.tell({ kind: 'drop', pass })
      },
    }
  }

  /** A whole file, from the disk. @throws the system's error when it cannot be read; INTERNAL */
  async read(path: string, summarize: boolean): Promise<Reading> {
    const thread = this.#idlest()
    thread.passes += 1
    try {
      return required(await thread.ask((id) => ({ kind: 'file', id, path, summarize })))
    } finally {
      thread.passes -= 1
    }
  }

  /** Ends the threads; what they were doing fails with INTERNAL. The next pass starts others. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.close()))
  }

  #idlest(): PassThread {
    return this.#threads.reduce((idlest, thread) => (thread.passes < idlest.passes ? thread : idlest))
  }
}

class PassThread {
  /** Passes that are under way. */
  passes = 0
  #worker: Worker | undefined
  #lastId = 0
  readonly #waiting = new Map<number, Waiting>()

  ask(question: (id: number) => Question): Promise<Reading | undefined> {
    const id = ++this.#lastId
    this.#worker ??= this.#start()
    const worker = this.#worker
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      worker.ref()
      worker.postMessage(question(id))
    })
  }

  tell(message: Question): void {
    this.#worker?.postMessage(message)
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
  }

  #start(): Worker {
    const worker = startWorker('./pass-worker', import.meta.url)
    let cause: unknown
    worker.on('message', (answer: Answer) => this.#settle(worker, answer))
    worker.on('error', (error) => {
      cause = error
    })
    // Only now is it certain that it writes no more.
    worker.on('exit', () => this.#giveUp(worker, cause))
    return worker
  }

  #settle(worker: Worker, answer: Answer): void {
    const caller = this.#waiting.get(answer.id)
    this.#waiting.delete(answer.id)
    // An idle thread must not keep the process alive.
    if (this.#waiting.size === 0) worker.unref()
    if ('failure' in answer) caller?.reject(systemError(answer.failure))
    else caller?.resolve(answer.reading)
  }

  #giveUp(worker: Worker, cause: unknown): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    const failed = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { reject } of failed) reject(new TapestryError('INTERNAL', 'a thread that takes bytes ended', { cause }))
  }
}

/** The code is what tells a full disk from other failures; an error object loses it on its way between threads. */
function systemError({ message, code }: { readonly message: string; readonly code: string | undefined }): Error {
  return Object.assign(new Error(message), code === undefined ? {} : { code })
}

function required(reading: Reading | undefined): Reading {
  if (reading !== undefined) return reading
  throw new TapestryError('INTERNAL', 'a thread gave no reading')
}
