import { shortNumber } from './plot.ts'
import { machineLine } from './report-parts.ts'
import type { Result } from './results.ts'
import type { ScaleFigure } from './scale.ts'
import { mb, table } from './table.ts'

/** Federations that are worked out: nodes in all. */
const FEDERATIONS = [10_000, 100_000, 1_000_000]
/** What V8 gives a process by itself on a machine of 16 GB or more. */
const CONNECTION_BYTES = 4e9
/** A round in which everybody takes part within this time is as short as rounds of slow members are. */
const WINDOW_SECONDS = 3600
/** Of the window, the share in which nodes may be expected to come: they do not come one after the other. */
const USED_SHARE = 0.5
/** A vector that a region sends upstream: 1 billion parameters in float32. */
const MODEL_BYTES = 4e9
/** A line of 1 Gbit/s, half of it used. */
const LINE_BYTES_PER_SECOND = 62.5e6

/** Processors of a coordinator's machine, one for the process that serves, and those that its database has. */
const DATABASE_PROCESSORS = 4
/** Connections that one process of a coordinator has: its pool and the one that listens. */
const CONNECTIONS_A_PROCESS = 7
/** Replicas of one region: the second is there for when the first is not. */
const REPLICAS = 2

/** The page about more nodes than were measured. Pure: the same figures give the same bytes. */
export function capacityPage({ machine, figures }: Result<'scale'>): string | undefined {
  const largest = figures.at(-1)
  if (largest === undefined) return undefined
  const limits = limitsOf(largest)
  const most = Math.min(limits.byMemory, limits.byServing, limits.byDatabase)
  return `# Capacity

How many nodes a coordinator carries, and what larger federations need. **Everything below the first table is arithmetic, not a
measurement**: \`npm run bench -- scale\` measures, and writes this page from \`bench/results/scale.json\`
([BENCHMARKS.md](BENCHMARKS.md) has the whole table).

## What was measured

${machineLine(machine)}
At ${nodesText(largest.nodes)} nodes on one coordinator, clients and database on the same machine:

${measuredTable(largest)}
${growthText(figures)}

## One coordinator

A process that serves runs its JavaScript on one processor; Postgres uses several. In a round everybody joins once and submits
one update within a window of W = ${nodesText(WINDOW_SECONDS)} s. Nodes do not come evenly, so only a share f = ${USED_SHARE} of it is counted on.

${table(
  ['limit', 'formula', 'nodes'],
  [
    [`memory M = ${mb(CONNECTION_BYTES)} MB of the serving process`, 'n <= (M - m0) / m', nodesText(limits.byMemory)],
    ['one processor that serves', 'n <= f W / (sj + su)', nodesText(limits.byServing)],
    [
      `${DATABASE_PROCESSORS} processors of the database`,
      `n <= ${DATABASE_PROCESSORS} f W / (dj + du)`,
      nodesText(limits.byDatabase),
    ],
  ],
)}
The smallest of these, **${nodesText(most)} nodes**, is what one coordinator of this kind carries with hourly rounds.
A second replica beside it divides memory and serving, and not the database.

- After a restart everybody connects again: n sc = ${shortNumber((most * largest.connect.servingCpuMs) / 1000)} s of one processor for ${nodesText(most)} nodes. Clients wait with full jitter (up to 30 s),
  and what is not answered in time is tried again.
- Telling all of a change of phase takes n st = ${shortNumber((most * largest.watch.servingCpuMs) / 1000)} s of it.
- File descriptors: one a node, and some hundred more; \`ulimit -n\` and \`maxConnections\` have to be above n.
- The database writes n r rows a round: ${shortNumber((most * (largest.join.rows + largest.update.rows)) / (USED_SHARE * WINDOW_SECONDS))} a second over f W.
- The network carries ${shortNumber((largest.joinBytes + largest.updateBytes) / 1000)} kB a node and round beside weights and larger deltas. Bytes of these are another matter: n deltas of B bytes take
  n B / L seconds on a line of L bytes a second. A model of ${mb(MODEL_BYTES)} MB and a line of ${mb(LINE_BYTES_PER_SECOND)} MB/s carry
  ${shortNumber((WINDOW_SECONDS * LINE_BYTES_PER_SECOND) / MODEL_BYTES)} whole updates an hour; codecs divide B by up to 50. For large models the line is what ends first.

## Regions

A region is a coordinator with its own nodes and database that is itself a node of another: it forwards a sum and a weight. With at
most k = ${nodesText(most)} nodes at each coordinator, n nodes need ceil(n / k) of them, and where there are several, one more level above.
Each level adds the time of one update, and one vector a region to the level above: ${mb(MODEL_BYTES)} MB take ${shortNumber(MODEL_BYTES / LINE_BYTES_PER_SECOND)} s on the line above.

${table(
  [
    'nodes',
    'coordinators',
    `processes that serve (${REPLICAS} replicas each)`,
    'Postgres connections of each coordinator',
    'levels',
    'updates at the top in a round',
    'rows/s of each database',
    'rows in all databases in a round',
  ],
  FEDERATIONS.map((nodes) => regionRow(nodes, most, largest)),
)}
## What was not measured

- More than ${nodesText(largest.nodes)} nodes at one coordinator: what is said of more goes on in a straight line.
- Regions themselves, their failures, and rounds that wait for the slowest of them; replicas under this load.
- Enrolment by \`Enroll\`, renewal of certificates (one a node and day), evaluations and reviews: each is a call like a join or an
  update, of which a round of evaluations adds one a node.
- Networks: all connections were on one machine, without delay or loss. Clients that come back after an outage were not either.
- Days: memory after hours, tables of many rounds, vacuum, backups.
- Larger updates than of some kB, and merges of many of them: the merge reads n B bytes once.
`
}

function measuredTable(figure: ScaleFigure): string {
  const { connect, watch, join, update } = figure
  const ms = (value: number) => `${shortNumber(value)} ms`
  return table(
    ['', 'symbol', 'value'],
    [
      ['memory of the serving process for a connected node', 'm', `${shortNumber(figure.bytesPerNode / 1000)} kB`],
      ['memory without nodes', 'm0', `${mb(aloneBytes(figure))} MB`],
      [
        'processor time of the serving process: connection, being told, join, update',
        'sc, st, sj, su',
        [connect, watch, join, update].map((one) => ms(one.servingCpuMs)).join(', '),
      ],
      [
        'processor time of the database: join, update',
        'dj, du',
        [join, update].map((one) => ms(one.databaseCpuMs)).join(', '),
      ],
      ['statements: join, update', '', [join, update].map((one) => shortNumber(one.statements)).join(', ')],
      ['rows written: join and update', 'r', shortNumber(join.rows + update.rows)],
    ],
  )
}

function growthText(figures: readonly ScaleFigure[]): string {
  const [smallest, largest] = [figures[0], figures.at(-1)]
  if (smallest === undefined || largest === undefined || smallest === largest) return ''
  const times = (pick: (figure: ScaleFigure) => number) => shortNumber(pick(largest) / pick(smallest))
  return `From ${nodesText(smallest.nodes)} to ${nodesText(largest.nodes)} nodes, ${shortNumber(largest.nodes / smallest.nodes)} times as many, an update became
${times((one) => one.update.servingCpuMs)} times as expensive to serve and ${times((one) => one.update.databaseCpuMs)} times to store, with ${times((one) => one.update.statements)} times the statements and
${times((one) => one.update.rows)} times the rows; what is near to 1 grows with the nodes and no faster. A connected node took ${figures.map((one) => shortNumber(one.bytesPerNode / 1e3)).join(', ')} kB at
${figures.map((one) => nodesText(one.nodes)).join(', ')} nodes; with few of them that is about what a heap varies by anyway.`
}

function aloneBytes({ servingBytes, nodes, bytesPerNode }: ScaleFigure): number {
  return servingBytes - nodes * bytesPerNode
}

function limitsOf(figure: ScaleFigure) {
  const { bytesPerNode, join, update } = figure
  const usedMs = USED_SHARE * WINDOW_SECONDS * 1000
  return {
    byMemory: Math.floor((CONNECTION_BYTES - aloneBytes(figure)) / bytesPerNode),
    byServing: Math.floor(usedMs / (join.servingCpuMs + update.servingCpuMs)),
    byDatabase: Math.floor((DATABASE_PROCESSORS * usedMs) / (join.databaseCpuMs + update.databaseCpuMs)),
  }
}

function regionRow(nodes: number, most: number, { join, update }: ScaleFigure): string[] {
  const levels = [nodes]
  do levels.push(Math.ceil((levels.at(-1) ?? 1) / most))
  while ((levels.at(-1) ?? 1) > 1)
  const coordinators = levels.slice(1)
  const senders = levels.slice(0, -1)
  const rows = join.rows + update.rows
  const busiest = Math.min(nodes, most)
  return [
    nodesText(nodes),
    coordinators.map(nodesText).join(' + '),
    nodesText(coordinators.reduce((sum, count) => sum + count, 0) * REPLICAS),
    String(CONNECTIONS_A_PROCESS * (REPLICAS + 1)),
    String(coordinators.length),
    nodesText(senders.at(-1) ?? nodes),
    shortNumber((busiest * rows) / (USED_SHARE * WINDOW_SECONDS)),
    shortNumber(senders.reduce((sum, count) => sum + count, 0) * rows),
  ]
}

function nodesText(count: number): string {
  return count.toLocaleString('en')
}
