import type { EventEmitter } from 'node:events'

/** What a process hears that tells it to stop. */
type Heard = Pick<EventEmitter, 'on'> & { readonly channel?: { unref(): void } | null | undefined }

export type StopSignal = {
  /** For commands that end in order: from now on they decide when to end. The others end at once. */
  take(): AbortSignal
  heard(): 'SIGINT' | 'SIGTERM' | undefined
}

/**
 * Turns signals into one AbortSignal. The first asks for an orderly end of a command that has taken
 * it and ends any other at once; the second always means now.
 * A process with an IPC channel also stops when its parent has gone, however it went: children
 * of a killed demonstration must not live on.
 */
export function stopSignal(from: Heard, exitNow: (signal: 'SIGINT' | 'SIGTERM') => void): StopSignal {
  const controller = new AbortController()
  let taken = false
  let first: 'SIGINT' | 'SIGTERM' | undefined
  const hear = (signal: 'SIGINT' | 'SIGTERM') => {
    if (first !== undefined || !taken) return exitNow(signal)
    first = signal
    controller.abort()
  }
  from.on('SIGINT', () => hear('SIGINT'))
  from.on('SIGTERM', () => hear('SIGTERM'))
  if (from.channel) {
    from.on('disconnect', () => hear('SIGTERM'))
    from.channel.unref()
  }
  return {
    take() {
      taken = true
      return controller.signal
    },
    heard: () => first,
  }
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}

/**
 * Resolves when a stream has been closed from the other side. What it carries is thrown away, and
 * waiting for it does not keep the process alive.
 */
export function closed(stream: NodeJS.ReadableStream): Promise<void> {
  return new Promise((resolve) => {
    for (const event of ['end', 'close', 'error']) stream.once(event, () => resolve())
    stream.resume()
    // Pipes can, files cannot; a file ends by itself.
    if ('unref' in stream && typeof stream.unref === 'function') stream.unref()
  })
}
