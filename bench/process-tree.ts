import { readdirSync, readFileSync } from 'node:fs'

/** CPU time is counted by the kernel in ticks of this length, whatever its own timer does (USER_HZ, time(7)). */
const TICKS_PER_SECOND = 100
const SAMPLE_MS = 50
/** Finding new processes means reading all of /proc, which itself costs processor time. */
const SAMPLES_PER_SEARCH = 5
/** The kernel walks every page to share them out. */
const SAMPLES_PER_SHARING = 20

/** What the processes took between two calls. */
export type Usage = {
  /** Processor seconds, user and system, of all processes together. */
  readonly cpuSeconds: number
  /** The same of the roots that were set aside. */
  readonly asideCpuSeconds: number
  /** Most memory that was resident at one moment, in bytes; what processes share by mapping counts once. */
  readonly peakBytes: number
  /** The same, one figure a root. */
  readonly peakOf: Readonly<Record<string, number>>
  /**
   * Most memory as the kernel shares it out (proportional set size): pages of programs and libraries, which
   * `peakBytes` counts in every process that maps them, are divided among those. Sampled less often.
   */
  readonly peakShareBytes: number
}

type Reading = { readonly cpu: number; readonly own: number; readonly shared: number }

/**
 * Samples memory and processor time of processes and everything that descends from them, from
 * /proc (Linux). Pages of programs and libraries count in every process that maps them, so the sum
 * is an upper bound: for us and for those we are compared with.
 */
export class TreeMeter {
  readonly #roots: Readonly<Record<string, number>>
  readonly #aside: ReadonlySet<string>
  #members = new Map<number, string>()
  #first = new Map<number, number>()
  #last = new Map<number, { readonly cpu: number; readonly root: string }>()
  #peaks = new Map<string, number>()
  #peak = 0
  #peakShare = 0
  #samples = 0
  #timer: NodeJS.Timeout | undefined

  /** @param roots process ids by name. @param aside names whose processes are not part of what is measured. */
  constructor(roots: Readonly<Record<string, number>>, aside: readonly string[] = []) {
    this.#roots = roots
    this.#aside = new Set(aside)
  }

  start(): void {
    this.#members = treesOf(this.#roots)
    for (const pid of this.#members.keys()) this.#first.set(pid, readProcess(pid)?.cpu ?? 0)
    this.#sample()
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS)
  }

  stop(): Usage {
    clearInterval(this.#timer)
    this.#sample()
    let cpuSeconds = 0
    let asideCpuSeconds = 0
    for (const [pid, { cpu, root }] of this.#last) {
      // A process that was born meanwhile spent all of its time here.
      const spent = cpu - (this.#first.get(pid) ?? 0)
      if (this.#aside.has(root)) asideCpuSeconds += spent
      else cpuSeconds += spent
    }
    return {
      cpuSeconds,
      asideCpuSeconds,
      peakBytes: this.#peak,
      peakShareBytes: this.#peakShare,
      peakOf: Object.fromEntries(this.#peaks),
    }
  }

  #sample(): void {
    if (this.#samples % SAMPLES_PER_SEARCH === 0) this.#members = treesOf(this.#roots)
    if (this.#samples++ % SAMPLES_PER_SHARING === 0) this.#peakShare = Math.max(this.#peakShare, this.#share())
    const sums = new Map<string, { own: number; shared: number }>()
    for (const [pid, root] of this.#members) {
      const reading = readProcess(pid)
      if (reading === undefined) continue
      this.#last.set(pid, { cpu: reading.cpu, root })
      const sum = sums.get(root) ?? { own: 0, shared: 0 }
      sums.set(root, { own: sum.own + reading.own, shared: Math.max(sum.shared, reading.shared) })
    }
    let total = 0
    for (const [root, { own, shared }] of sums) {
      if (!this.#aside.has(root)) total += own + shared
      this.#peaks.set(root, Math.max(this.#peaks.get(root) ?? 0, own + shared))
    }
    this.#peak = Math.max(this.#peak, total)
  }

  #share(): number {
    let total = 0
    for (const [pid, root] of this.#members) if (!this.#aside.has(root)) total += shareOf(pid)
    return total
  }
}

/** Processor seconds, user and system, that a process has spent so far. */
export function processCpu(pid: number): number {
  return statOf(pid)?.cpu ?? 0
}

/** The same of a process and all that descend from it, those that have ended included. */
export function treeCpu(pid: number): number {
  const all = [...treesOf({ root: pid }).keys()].map(statOf)
  return all.reduce((sum, stat) => sum + (stat?.cpu ?? 0) + (stat?.endedCpu ?? 0), 0)
}

/** Every process of the trees, with the name of its root. */
function treesOf(roots: Readonly<Record<string, number>>): Map<number, string> {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    const parent = Number.isInteger(pid) ? statOf(pid)?.parent : undefined
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), pid])
  }
  const ids = new Set(Object.values(roots))
  const members = new Map<number, string>()
  for (const [name, root] of Object.entries(roots)) {
    const tree = [root]
    // The loop sees what it adds.
    for (const pid of tree) {
      members.set(pid, name)
      // A root below another one is counted for itself.
      tree.push(...(children.get(pid) ?? []).filter((child) => !ids.has(child)))
    }
  }
  return members
}

function readProcess(pid: number): Reading | undefined {
  const stat = statOf(pid)
  const status = stat && readIfThere(`/proc/${pid}/status`)
  if (stat === undefined || status === undefined) return undefined
  const kilobytes = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0) * 1024
  const shared = kilobytes('RssShmem')
  return { cpu: stat.cpu, own: kilobytes('VmRSS') - shared, shared }
}

/** /proc/<pid>/smaps_rollup, proc(5): Pss in KiB. */
function shareOf(pid: number): number {
  return Number(/^Pss:\s+(\d+)/m.exec(readIfThere(`/proc/${pid}/smaps_rollup`) ?? '')?.[1] ?? 0) * 1024
}

/** /proc/<pid>/stat, proc(5): field 4 is the parent, 14 and 15 are user and system time in ticks, 16 and 17 those of children that ended. */
function statOf(pid: number): { readonly parent: number; readonly cpu: number; readonly endedCpu: number } | undefined {
  const text = readIfThere(`/proc/${pid}/stat`)
  // The name, in parentheses, may hold spaces and parentheses.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ')
  if (fields === undefined) return undefined
  const seconds = (at: number) => (Number(fields[at]) + Number(fields[at + 1])) / TICKS_PER_SECOND
  return { parent: Number(fields[1]), cpu: seconds(11), endedCpu: seconds(13) }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
