import { type ProcessEntry, readProcesses, residentBytes, treeOf } from './process-table.ts'

/** Training steps last longer, so a peak lasts for many samples. */
const SAMPLE_MS = 250

/**
 * The most memory that processes had resident, each with all of its descendants. Shared memory
 * counts once; pages of programs and libraries once for each process: an upper bound.
 */
export class MemoryMeter {
  readonly #roots = new Map<number, string>()
  readonly #peaks = new Map<string, number>()
  readonly #read: () => Promise<readonly ProcessEntry[]>
  #timer: NodeJS.Timeout | undefined
  #sampling = false

  constructor(read: () => Promise<readonly ProcessEntry[]> = readProcesses) {
    this.#read = read
  }

  /** Adds a process to what is measured under a name; several under one name are added up. */
  follow(name: string, pid: number): void {
    this.#roots.set(pid, name)
  }

  start(): void {
    this.#timer = setInterval(() => this.sample(), SAMPLE_MS).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Takes one sample, unless one is being taken. */
  async sample(): Promise<void> {
    if (this.#sampling) return
    this.#sampling = true
    try {
      const processes = await this.#read()
      for (const name of new Set(this.#roots.values())) {
        const roots = [...this.#roots].filter(([, follower]) => follower === name)
        const bytes = residentBytes(roots.flatMap(([pid]) => treeOf(pid, processes)))
        this.#peaks.set(name, Math.max(this.#peaks.get(name) ?? 0, bytes))
      }
    } finally {
      this.#sampling = false
    }
  }

  /** The peak of one, in MB (10^6 bytes); 0 when it was never seen. */
  peakMb(name: string): number {
    return Math.round((this.#peaks.get(name) ?? 0) / 1e5) / 10
  }
}
