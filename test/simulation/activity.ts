/** Thrown where bytes were flowing when their connection was cut. */
export class Cut extends Error {
  override readonly name = 'Cut'
}

/**
 * One call, job or sweep inside a simulated process. It stops at its points, and between two of them
 * it runs alone: the order in which activities are stepped is the whole of a schedule, so a seed that
 * fails fails again in the same way.
 */
export class Activity {
  readonly name: string
  /** The point that it waits at. */
  at = 'begin'
  #over = false
  #killed = false
  #go: (() => void) | undefined
  #cut: ((error: Cut) => void) | undefined
  #arrived: () => void = () => {}

  /** @param onError takes what the work threw, unless its process was killed before. */
  constructor(name: string, work: (self: Activity) => Promise<void>, onError: (error: unknown) => void) {
    this.name = name
    void this.point('begin')
      .then(() => work(this))
      .catch((error: unknown) => this.#killed || onError(error))
      .then(() => {
        this.#over = true
        this.#arrived()
      })
  }

  get over(): boolean {
    return this.#killed || this.#over
  }

  /** Waits for its turn. In a killed process nobody's turn ever comes: that is what SIGKILL looks like from inside. */
  point(label: string): Promise<void> {
    if (this.#killed) return new Promise(() => {})
    if (this.#go !== undefined) throw new Error(`${this.name} waits at ${this.at} and at ${label}`)
    this.at = label
    return new Promise((go) => {
      this.#go = go
      this.#arrived()
    })
  }

  /** A point in the middle of a transfer: when its process is killed the socket closes, and the transfer fails. */
  receiving(label: string): Promise<void> {
    if (this.#killed) return Promise.reject(new Cut(label))
    const turn = this.point(label)
    return new Promise((resolve, reject) => {
      this.#cut = reject
      void turn.then(resolve)
    }).then(() => {
      this.#cut = undefined
    })
  }

  /** Runs it to its next point, or to its end. */
  async step(): Promise<void> {
    const go = this.#go
    if (go === undefined) return
    const arrived = new Promise<void>((resolve) => {
      this.#arrived = resolve
    })
    this.#go = undefined
    go()
    await arrived
  }

  async finish(): Promise<void> {
    while (!this.over) await this.step()
  }

  /** Nothing of it happens any more. */
  kill(): void {
    this.#killed = true
    this.#go = undefined
    this.#cut?.(new Cut(this.at))
  }
}
