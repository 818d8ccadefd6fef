import { type ChildProcess, fork } from 'node:child_process'
import type { z } from 'zod'

/** A module of this folder in a process of its own, that speaks over IPC. */
export class BenchChild<M> {
  readonly #process: ChildProcess
  readonly #schema: z.ZodType<M>
  readonly #messages: M[] = []
  readonly #waiting: { resolve(message: M): void; reject(error: Error): void }[] = []
  #ended: Error | undefined

  /** @param module file of this folder, with its extension. @param schema of what it sends. */
  constructor(module: string, args: readonly string[], schema: z.ZodType<M>) {
    this.#schema = schema
    this.#process = fork(new URL(`./${module}`, import.meta.url), [...args], { execArgv: ['--import', 'tsx'] })
    this.#process.on('message', (message) => this.#take(message))
    this.#process.once('exit', (code, signal) => this.#end(new Error(`${module} ended (${signal ?? code})`)))
    this.#process.once('error', (error) => this.#end(error))
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  /** The next message. @throws when the process ends without one. */
  next(): Promise<M> {
    const message = this.#messages.shift()
    if (message !== undefined) return Promise.resolve(message)
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }

  send(message: object): void {
    this.#process.send(message)
  }

  async stop(): Promise<void> {
    if (this.#ended !== undefined) return
    const exited = new Promise((resolve) => this.#process.once('exit', resolve))
    this.#process.kill('SIGTERM')
    await exited
  }

  #take(message: unknown): void {
    const parsed = this.#schema.safeParse(message)
    if (!parsed.success) {
      this.#end(new Error(`not understood: ${JSON.stringify(message)}`))
      return
    }
    const waiting = this.#waiting.shift()
    if (waiting === undefined) this.#messages.push(parsed.data)
    else waiting.resolve(parsed.data)
  }

  #end(error: Error): void {
    this.#ended ??= error
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }
}
