import { type EventEmitter, getEventListeners } from 'node:events'

/** What a process hears that tells it to stop. */
type Heard = Pick<EventEmitter, 'on'> & { readonly channel?: { unref(): void } | null | undefined }

export type StopSignal = { readonly signal: AbortSignal; heard(): 'SIGINT' | 'SIGTERM' | undefined }

/**
 * Turns signals into one AbortSignal. The first asks for an orderly end of a command that listens
 * and ends any other at once; the second always means now.
 * A process with an IPC channel also stops when its parent has gone, however it went: children
 * of a killed demonstration must not live on.
 */
export function stopSignal(from: Heard, exitNow: (signal: 'SIGINT' | 'SIGTERM') => void): StopSignal {
  const controller = new AbortController()
  let first: 'SIGINT' | 'SIGTERM' | undefined
  const hear = (signal: 'SIGINT' | 'SIGTERM') => {
    if (first !== undefined || getEventListeners(controller.signal, 'abort').length === 0) return exitNow(signal)
    first = signal
    controller.abort()
  }
  from.on('SIGINT', () => hear('SIGINT'))
  from.on('SIGTERM', () => hear('SIGTERM'))
  if (from.channel) {
    from.on('disconnect', () => hear('SIGTERM'))
    from.channel.unref()
  }
  return { signal: controller.signal, heard: () => first }
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
