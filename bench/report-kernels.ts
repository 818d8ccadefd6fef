import type { KernelFigure } from './kernels.ts'
import { shortNumber } from './plot.ts'
import { machineLine, type Plotter, type Target, targets } from './report-parts.ts'
import type { Result } from './results.ts'
import { mb, optional, ratio, table } from './table.ts'

/** What the arithmetic does at best. */
export function kernelSection({ machine, figures }: Result<'kernels'>, plot: Plotter): string {
  const memcpy = figures.kernels.find(({ name }) => name === 'memcpy')?.median ?? Number.NaN
  const peer = (name: string) => figures.numpy.find((rate) => rate.name === name)?.median
  const rows = figures.kernels.map(({ name, median, best }) => [
    name,
    shortNumber(median),
    shortNumber(best),
    ratio(median, memcpy),
    optional(peer(name)),
  ])
  const drawn = figures.kernels.filter(({ name }) => name.endsWith(' of 8'))
  return [
    '## Kernels\n',
    machineLine(machine),
    'GB of input read a second, on one thread, from memory that no cache holds; memcpy in the same rounds.\n',
    table(['', 'median', 'best', '/ memcpy', 'numpy'], rows),
    plot('kernels', {
      title: 'Merge kernels over 8 inputs: GB of input a second, one thread',
      unit: 'GB/s',
      series: ['Tapestry', 'numpy'],
      groups: drawn.map(({ name, median }) => ({
        label: name.replace(' of 8', '').replace(' ', '\n'),
        values: [median, peer(name)],
      })),
      line: { label: 'memcpy', value: memcpy },
    }),
    targets(figures.kernels.filter(({ name }) => name.startsWith('f32')).map((rate) => kernelTarget(rate, memcpy))),
  ].join('\n')
}

function kernelTarget({ name, median }: KernelFigure['kernels'][number], memcpy: number): Target {
  return { what: `${name}: at or above memcpy`, met: median >= memcpy, found: `${ratio(median, memcpy)} times` }
}

/** Any number of contributions to a model of any size: what is promised of a merge. */
const MOST_MERGE_BYTES = 300e6

/** What a merge keeps in memory. */
export function mergeMemorySection({ machine, figures }: Result<'memory'>): string {
  const rows = figures.map(({ strategy, contributions, modelBytes, peakBytes, seconds }) => [
    strategy,
    String(contributions),
    mb(modelBytes),
    mb(peakBytes),
    shortNumber(seconds),
  ])
  const worst = Math.max(...figures.map(({ peakBytes }) => peakBytes))
  const found = `${mb(worst)} MB at most`
  return [
    '## Memory of a merge\n',
    machineLine(machine),
    `Peak resident memory of a process that does nothing but one merge, node and the loader of TypeScript included. The contributions are eight
files, named again and again: what is read, and the work, are those of as many. Memory, unlike time, does not depend on who else was at work.\n`,
    table(['strategy', 'contributions', 'model, MB', 'peak resident, MB', 's'], rows),
    targets([
      { what: 'under 300 MB for any number of contributions and any size', met: worst < MOST_MERGE_BYTES, found },
    ]),
  ].join('\n')
}
