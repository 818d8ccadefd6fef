import { shortNumber } from './plot.ts'
import { machineLine, type Plotter, type Target, targets } from './report-parts.ts'
import type { Result } from './results.ts'
import type { Latency, ScaleFigure } from './scale.ts'
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
  const rows = figures.map((figure) => [
    String(figure.nodes),
    shortNumber(figure.connectsPerSecond),
    (figure.bytesPerNode / 1000).toFixed(0),
    mb(figure.servingBytes),
    latency(figure.watchMs),
    latency(figure.joinMs),
    shortNumber(figure.joinsPerSecond),
    latency(figure.updateMs),
    shortNumber(figure.updatesPerSecond),
    [figure.joinStatements, figure.updateStatements].map(shortNumber).join(' / '),
    shortNumber(figure.updateRows),
    shortNumber(figure.mergeSeconds),
  ])
  const head = [
    'nodes',
    'connects/s',
    'kB a node',
    'serving process, MB',
    'told, ms',
    'join, ms',
    'joins/s',
    'update, ms',
    'updates/s',
    'statements a join / an update',
    'rows an update',
    'merged in, s',
  ]
  const groups = (pick: (figure: ScaleFigure) => readonly number[]) =>
    figures.map((figure) => ({ label: `${figure.nodes} nodes`, values: pick(figure) }))
  return [
    '## Many nodes\n',
    machineLine(machine),
    `Simulated nodes, each with its own certificate and TLS connection, at one coordinator started by its command on an embedded Postgres:
all watch the rounds, join one, and submit an update of 20 kB in three calls (announce, send, submit), ${figures[0]?.parallel ?? 0} calls under way at
once. They are two processes on the same processors. Latencies are p50 / p99; *told* is from the call that opens a round until a
node hears of it. Memory is what the serving process has more, once they are connected and watch. Statements are the database's own
count (\`pg_stat_statements\`), those that begin and end transactions included. [CAPACITY.md](CAPACITY.md) says what follows for more nodes than these.\n`,
    table(head, rows),
    plot('scale', {
      title: 'Joins and updates a second, by number of nodes',
      unit: '1/s',
      series: ['joins', 'updates'],
      groups: groups(({ joinsPerSecond, updatesPerSecond }) => [joinsPerSecond, updatesPerSecond]),
    }),
    plot('scale-latency', {
      title: 'Until 99 of 100 nodes are told of a round, have joined, have updated: ms',
      unit: 'ms',
      series: ['told', 'join', 'update'],
      groups: groups(({ watchMs, joinMs, updateMs }) => [watchMs.p99, joinMs.p99, updateMs.p99]),
    }),
  ].join('\n')
}

function latency({ p50, p99 }: Latency): string {
  return `${shortNumber(p50)} / ${shortNumber(p99)}`
}
