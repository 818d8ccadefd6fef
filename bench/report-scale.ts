import { shortNumber } from './plot.ts'
import { machineLine, type Plotter, type Target, targets } from './report-parts.ts'
import type { Result } from './results.ts'
import type { Latency, ScaleFigure } from './scale.ts'
import type { Cost } from './scale-cost.ts'
import { mb, table } from './table.ts'

/** Memory of the process that serves, with a heap of 256 MiB: its heap, its programs, and the blocks on their way. */
const MOST_SERVING_BYTES = 400e6

/** A contribution that no memory here could hold. */
export function largeSection({ machine, figures }: Result<'large'>): string {
  const { deltaBytes, heapBytes, weightFiles, servingPeakBytes, peakBytes, cpuSeconds, ...took } = figures
  const { createSeconds, uploadSeconds, acceptSeconds, mergeSeconds, publishSeconds } = took
  const seconds = [createSeconds, uploadSeconds, acceptSeconds, mergeSeconds, publishSeconds, cpuSeconds]
  return [
    '## One large contribution\n',
    machineLine(machine),
    `One contribution of ${mb(deltaBytes)} MB through a coordinator that was started by its command with
\`--max-old-space-size=${heapBytes / 2 ** 20}\`: sent over mutual TLS, checked, merged, and published as a checkpoint whose weights are in
${weightFiles} ${weightFiles === 1 ? 'file' : 'shards'}. *Created* is the run, whose initial weights are as large.\n`,
    table(
      [
        'created, s',
        'sent and checked, s',
        'accepted, s',
        'merged, s',
        'published, s',
        'CPU of the coordinator, s',
        'peak of the serving process, MB',
        'peak of all its processes, MB',
      ],
      [[...seconds.map(shortNumber), mb(servingPeakBytes), mb(peakBytes)]],
    ),
    targets([
      {
        what: `${mb(deltaBytes)} MB: the serving process stays under ${mb(MOST_SERVING_BYTES)} MB`,
        met: servingPeakBytes < MOST_SERVING_BYTES,
        found: `${mb(servingPeakBytes)} MB`,
      },
    ] satisfies Target[]),
  ].join('\n')
}

/** Many nodes at one coordinator. */
export function scaleSection({ machine, figures }: Result<'scale'>, plot: Plotter): string {
  return [
    '## Many nodes\n',
    machineLine(machine),
    `Simulated nodes, each with its own certificate and TLS connection, at one coordinator started by its command on an embedded Postgres:
all watch the rounds, join one, and submit a small update in three calls (announce, send over gRPC, submit), ${figures[0]?.parallel ?? 0} calls under way at
once. They are two processes on the same processors. Latencies are p50 / p99: with so many calls under way they are mostly the
wait behind the others. *Told* is from the call that opens a round until a node hears of it. Memory is what the serving process has
more, once they are connected and watch. They were not enrolled by \`Enroll\`: their rows were inserted. [CAPACITY.md](CAPACITY.md) says what
follows for more nodes than these.\n`,
    table(SPEED, figures.map(speedRow)),
    `\nWhat each of them costs. Statements are the database's own count (\`pg_stat_statements\`), those that begin and end transactions
included; what arrives together shares them. Processor time is that of the serving process and of the database, and so depends less
on who else was at work; bytes are both ways, inside TLS.\n`,
    table(COST, figures.flatMap(costRows)),
    ...plotsOf(figures, plot),
    '',
  ].join('\n')
}

const SPEED = [
  'nodes',
  'connects/s',
  'kB a node',
  'serving process, MB',
  'told, ms',
  'join, ms',
  'joins/s',
  'update, ms',
  'updates/s',
  'merged in, s',
]

function speedRow(figure: ScaleFigure): string[] {
  return [
    String(figure.nodes),
    shortNumber(figure.connectsPerSecond),
    (figure.bytesPerNode / 1000).toFixed(0),
    mb(figure.servingBytes),
    latency(figure.watchMs),
    latency(figure.joinMs),
    shortNumber(figure.joinsPerSecond),
    latency(figure.updateMs),
    shortNumber(figure.updatesPerSecond),
    shortNumber(figure.mergeSeconds),
  ]
}

const COST = [
  'nodes',
  'for each',
  'statements',
  'rows',
  'serving, ms of a processor',
  'database, ms of a processor',
  'kB',
]

function costRows(figure: ScaleFigure): string[][] {
  const row = (what: string, { statements, rows, servingCpuMs, databaseCpuMs }: Cost, bytes?: number) => [
    String(figure.nodes),
    what,
    ...[statements, rows, servingCpuMs, databaseCpuMs].map(shortNumber),
    bytes === undefined ? '' : shortNumber(bytes / 1000),
  ]
  return [
    row('connection', figure.connect, figure.connectBytes),
    row('node told', figure.watch),
    row('join', figure.join, figure.joinBytes),
    row('update', figure.update, figure.updateBytes),
  ]
}

function plotsOf(figures: readonly ScaleFigure[], plot: Plotter): string[] {
  const groups = (pick: (figure: ScaleFigure) => readonly number[]) =>
    figures.map((figure) => ({ label: `${figure.nodes} nodes`, values: pick(figure) }))
  const waits = (percentile: keyof Latency) =>
    groups(({ watchMs, joinMs, updateMs }) => [watchMs, joinMs, updateMs].map((one) => one[percentile]))
  const series = ['told', 'join', 'update']
  return [
    plot('scale', {
      title: 'Joins and updates a second, by number of nodes',
      unit: '1/s',
      series: ['joins', 'updates'],
      groups: groups(({ joinsPerSecond, updatesPerSecond }) => [joinsPerSecond, updatesPerSecond]),
    }),
    plot('scale-latency-p50', {
      title: 'Half of the nodes waited no longer',
      unit: 'ms',
      series,
      groups: waits('p50'),
    }),
    plot('scale-latency', { title: '99 of 100 nodes waited no longer', unit: 'ms', series, groups: waits('p99') }),
    plot('scale-memory', {
      title: 'Memory of the serving process for a connected node',
      unit: 'kB',
      series: ['a node'],
      groups: groups(({ bytesPerNode }) => [bytesPerNode / 1000]),
    }),
    plot('scale-statements', {
      title: 'What an update costs the database',
      unit: '',
      series: ['statements', 'rows'],
      groups: groups(({ update }) => [update.statements, update.rows]),
    }),
  ]
}

function latency({ p50, p99 }: Latency): string {
  return `${shortNumber(p50)} / ${shortNumber(p99)}`
}
