import { LiveRegion } from './live-region.ts'
import type { Output } from './output.ts'
import { bar, formatBytes } from './terminal.ts'

const BAR_COLUMNS = 24

/** One line that shows how many bytes are done; nothing at all unless stderr is a terminal. */
export function byteProgress(output: Output, verb: string, now: () => number) {
  const { terminal, stderr, quiet } = output
  const region = terminal.live && !quiet ? new LiveRegion(stderr, terminal, now) : undefined
  return {
    report(done: number, total: number) {
      const fraction = total > 0 ? done / total : 1
      region?.draw([`${verb}  ${bar(fraction, BAR_COLUMNS)}  ${formatBytes(done)} of ${formatBytes(total)}`])
    },
    close: () => region?.clear(),
  }
}
