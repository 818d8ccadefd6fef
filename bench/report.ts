import { capacityPage } from './capacity.ts'
import { codecSection } from './codec-section.ts'
import type { FlowerFigure } from './flower.ts'
import type { Limits } from './limits.ts'
import type { Machine } from './machine.ts'
import { type BarPlot, barPlot, shortNumber } from './plot.ts'
import { kernelSection, mergeMemorySection } from './report-kernels.ts'
import { isLoud, machineLine, type Plotter, type Target, targets } from './report-parts.ts'
import { flowerReasons, transferReasons } from './report-reasons.ts'
import { largeSection, scaleSection } from './report-scale.ts'
import type { Result, Results } from './results.ts'
import type { RoundFigure } from './round.ts'
import { mb, percent, ratio, spread, table } from './table.ts'
import type { TransferRow } from './transfer.ts'

/** The document and its plots, by file name beside it. */
export type Report = {
  readonly markdown: string
  /** The page about more nodes than were measured; undefined until some were. */
  readonly capacity: string | undefined
  readonly plots: Readonly<Record<string, string>>
}

/** The folder of the plots, beside the document. */
export const PLOTS = 'benchmarks'
const INTRODUCTION = `# Benchmarks

Regenerate everything with \`npm run bench\`, or one part with \`npm run bench -- round\`; \`npm run bench:flower\` compares
with Flower. \`--shapes 8x100,32x100,4x1000\` says which rounds (nodes x MB) both measure, the first alone by default. This file and its plots are generated from \`bench/results/\`. Medians, with the extremes in parentheses;
1 GB is 10^9 bytes. What a figure is compared with was measured in the same run on the same machine, kernels and transfers interleaved with
the other side; the limits of a round are measured just before it. Absolute numbers of two runs cannot be compared. Memory is counted over the whole tree of
processes, embedded Postgres and worker included: *resident* adds up what each process has mapped (shared memory once,
pages of programs once for each process), *shared out* divides shared pages among those who map them.
`

/** Writes the report of what was measured so far. Pure: the same results give the same bytes. */
export function makeReport(results: Results): Report {
  const plots: Record<string, string> = {}
  const plot = (name: string, what: BarPlot) => {
    plots[`${name}.svg`] = barPlot(what)
    return `![${what.title}](${PLOTS}/${name}.svg)`
  }
  const sections = [
    results.round && roundSection(results.round, plot),
    results.flower && flowerSection(results.flower, plot),
    results.transfer && transferSection(results.transfer, plot),
    results.large && largeSection(results.large),
    results.scale && scaleSection(results.scale, plot),
    results.codecs && codecSection(machineLine(results.codecs.machine), results.codecs.figures),
    results.memory && mergeMemorySection(results.memory),
    results.kernels && kernelSection(results.kernels, plot),
  ].filter((section) => section !== undefined)
  return {
    markdown: `${[INTRODUCTION, ...sections].join('\n')}`,
    capacity: results.scale && capacityPage(results.scale),
    plots,
  }
}

function roundSection({ machine, figures }: Result<'round'>, plot: Plotter): string {
  const rows = figures.map((figure) => [
    sizeOf(figure),
    spread(figure.wallSeconds),
    figure.plainWallSeconds ? spread(figure.plainWallSeconds) : '-',
    spread(figure.uploadSeconds),
    spread(figure.acceptSeconds),
    shortNumber(figure.physicalSeconds),
    shortNumber(figure.physicalTlsSeconds),
    figure.plainWallSeconds ? ratio(figure.plainWallSeconds.median, figure.physicalSeconds) : '-',
    ratio(figure.wallSeconds.median, figure.physicalTlsSeconds),
    spread(figure.cpuSecondsPerGb),
    mb(figure.peakBytes.most),
    mb(figure.peakShareBytes.most),
    percent(figure.othersShare.median),
  ])
  const head = [
    'round',
    'whole, s',
    'whole without TLS, s',
    'all stored, s',
    'all accepted, s',
    'parts, s',
    'parts with TLS, s',
    'whole without TLS / parts',
    'whole / parts with TLS',
    'CPU, s/GB',
    'peak resident, MB',
    'peak shared out, MB',
    'machine time of others',
  ]
  return [
    '## A round at the coordinator\n',
    machineLine(machine),
    `From the first byte received to the candidate written, over mutual TLS, at a coordinator started by its command;
the nodes are one process on the same machine that sends all deltas at once with the node's own client. *Without TLS* the
same handler takes the uploads on a plain socket, which only this benchmark opens, in rounds that alternate with the others. *Parts* is what
receiving over loopback TCP (or TLS), SHA-256, writing durably and reading from memory take for the same bytes, one after
the other, each at its best on one thread (below). Everything includes the nodes' own work on the same processors.\n`,
    table(head, rows),
    plot('round', {
      title: 'A round: seconds from the first byte to the candidate',
      unit: 's',
      series: ['whole round', 'whole without TLS', 'physical parts with TLS', 'physical parts'],
      groups: figures.map((figure) => ({
        label: sizeOf(figure),
        values: [
          figure.wallSeconds.median,
          figure.plainWallSeconds?.median,
          figure.physicalTlsSeconds,
          figure.physicalSeconds,
        ],
      })),
    }),
    '\nWhat this machine does at best, in GB/s, measured before each round:\n',
    table(
      LIMIT_HEAD,
      figures.map((figure) => [sizeOf(figure), ...limitCells(figure.limits)]),
    ),
    targets(figures.flatMap((figure) => roundTarget(figure, machine))),
  ].join('\n')
}

const LIMIT_HEAD = ['', 'memcpy', 'loopback TCP', 'loopback TLS', 'disk write + fsync', 'SHA-256']

function limitCells({ memcpy, tcp, tls, diskWrite, sha256 }: Limits): string[] {
  return [memcpy, tcp, tls, diskWrite, sha256].map(spread)
}

/** Limits are not interleaved with rounds, so on a machine that others use the quotient says nothing either way. */
function roundTarget(figure: RoundFigure, machine: Machine): Target[] {
  if (figure.plainWallSeconds === undefined) return []
  const factor = figure.plainWallSeconds.median / figure.physicalSeconds
  const tls = figure.wallSeconds.median / figure.plainWallSeconds.median
  return [
    {
      what: `${sizeOf(figure)}: a whole round without TLS within twice its physical parts`,
      met: isLoud(machine) ? 'not judged' : factor <= 2,
      found: `${shortNumber(factor)} times; TLS makes the round ${shortNumber(tls)} times as long`,
    },
  ]
}

function flowerSection({ machine, figures }: Result<'flower'>, plot: Plotter): string {
  const rows = figures.flatMap(({ nodes, megabytes, flower, tapestry, ratios }) => [
    [
      `${nodes} x ${megabytes} MB`,
      'Flower 1.29',
      spread(flower.wallSeconds),
      mb(flower.peakBytes),
      mb(flower.peakShareBytes),
    ],
    ['', 'Tapestry', spread(tapestry.wallSeconds), mb(tapestry.peakBytes.most), mb(tapestry.peakShareBytes.most)],
    [
      '',
      '**Flower / Tapestry**',
      ...[ratios.wall, ratios.peak, ratios.peakShare].map((value) => `**${shortNumber(value)}**`),
    ],
  ])
  const groups = (pick: (figure: FlowerFigure) => readonly number[]) =>
    figures.map((figure) => ({ label: `${figure.nodes} x ${figure.megabytes} MB`, values: pick(figure) }))
  return [
    '## Beside Flower\n',
    machineLine(machine),
    `A round is from before the model goes out to the nodes until the mean is there, so the download of the base by every
node is inside Tapestry's time here too. Flower: SuperLink and ServerApp with FedAvg, in memory, without TLS, its nodes threads
that speak its Fleet API with distinct values; it neither writes nor hashes what it receives for good. Tapestry: mutual
TLS, every byte hashed and on disk before it counts, every value inspected. Memory is the servers' alone.\n`,
    table(['', '', 'a round, s', 'peak resident, MB', 'peak shared out, MB'], rows),
    plot('flower-time', {
      title: 'A round beside Flower: seconds',
      unit: 's',
      series: ['Flower 1.29', 'Tapestry'],
      groups: groups(({ flower, tapestry }) => [flower.wallSeconds.median, tapestry.wallSeconds.median]),
    }),
    plot('flower-memory', {
      title: 'Peak memory of the servers beside Flower: MB',
      unit: 'MB',
      series: ['Flower 1.29', 'Tapestry'],
      groups: groups(({ flower, tapestry }) => [flower.peakBytes / 1e6, tapestry.peakBytes.most / 1e6]),
    }),
    targets(figures.flatMap(flowerTargets)),
    ...figures.map((figure) => flowerReasons(figure, flowerTargets(figure))),
  ].join('\n')
}

function flowerTargets({ nodes, megabytes, ratios }: FlowerFigure): Target[] {
  const memory = nodes >= 32 ? 60 : 20
  const size = `${nodes} x ${megabytes} MB`
  return [
    {
      what: `${size}: at most a quarter of Flower's time`,
      met: ratios.wall >= 4,
      found: `1/${shortNumber(ratios.wall)}`,
    },
    {
      what: `${size}: at most 1/${memory} of Flower's peak memory`,
      met: ratios.peak >= memory,
      found: `1/${shortNumber(ratios.peak)} (1/${shortNumber(ratios.peakShare)} shared out)`,
    },
  ]
}

function transferSection({ machine, figures }: Result<'transfer'>, plot: Plotter): string {
  const rows = figures.rows.map((row) => [
    row.direction,
    String(row.roundTripMs),
    spread(row.tapestry),
    row.grpcio ? spread(row.grpcio) : '-',
    row.grpcioTls ? spread(row.grpcioTls) : '-',
    row.grpcioTls ? ratio(row.tapestry.median, row.grpcioTls.median) : '-',
    row.grpcio ? ratio(row.tapestry.median, row.grpcio.median) : '-',
  ])
  const head = [
    '',
    'round trip, ms',
    'Tapestry',
    'grpcio',
    'grpcio with TLS',
    'Tapestry / grpcio with TLS',
    'Tapestry / grpcio',
  ]
  return [
    '## Bytes over a long way\n',
    machineLine(machine),
    `One artifact of ${mb(figures.bytes)} MB between a node and a coordinator, in MB/s, connecting included, through a proxy that delays every
byte (none at 0 ms). Tapestry is HTTPS with mutual TLS, and its time ends when the bytes are hashed, durable and
acknowledged; grpcio (Python, one stream of 1 MiB messages) neither hashes nor writes.\n`,
    table(head, rows),
    plot('transfer', {
      title: 'Transfer by round-trip time: MB/s',
      unit: 'MB/s',
      series: ['Tapestry (TLS)', 'grpcio with TLS', 'grpcio'],
      groups: figures.rows.map(({ direction, roundTripMs, tapestry, grpcio, grpcioTls }) => ({
        label: `${direction}\n${roundTripMs} ms`,
        values: [tapestry.median, grpcioTls?.median, grpcio?.median],
      })),
    }),
    '\nThe cost of TLS: the same bytes over loopback with and without it, in GB/s.\n',
    table(LIMIT_HEAD, [['', ...limitCells(figures.limits)]]),
    targets(figures.rows.flatMap(transferTarget)),
    transferReasons(figures, figures.rows.flatMap(transferTarget)),
  ].join('\n')
}

function transferTarget({ direction, roundTripMs, tapestry, grpcio }: TransferRow): Target[] {
  if (roundTripMs === 0 || grpcio === undefined) return []
  const factor = tapestry.median / grpcio.median
  return [
    {
      what: `${direction} at ${roundTripMs} ms: at least 1.4 times grpcio`,
      met: factor >= 1.4,
      found: `${shortNumber(factor)} times, with TLS here and without it there`,
    },
  ]
}

function sizeOf({ nodes, deltaBytes }: RoundFigure): string {
  return `${nodes} x ${mb(deltaBytes)} MB`
}
