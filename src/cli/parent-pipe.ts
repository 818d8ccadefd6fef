import type { WakeQueue } from '../jobs/driver.ts'

/**
 * The wakes that a coordinator writes to the stdin of the workers it started: a line each, whatever it says.
 * They need no queue between them, so neither loads one.
 */
export function wakesFrom(pipe: NodeJS.ReadableStream): WakeQueue {
  let onData: (() => void) | undefined
  return {
    wake() {},
    consume(onWake) {
      onData = () => void onWake()
      pipe.on('data', onData)
    },
    async close() {
      if (onData !== undefined) pipe.off('data', onData)
    },
  }
}
