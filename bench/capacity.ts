import { shortNumber } from './plot.ts'
import { machineLine } from './report-parts.ts'
import type { Result } from './results.ts'
import type { ScaleFigure } from './scale.ts'
import { mb, table } from './table.ts'

/** Federations that are worked out: nodes in all. */
const FEDERATIONS = [10_000, 100_000, 1_000_000]
/** Memory that a coordinator's machine gives to connections. */
const CONNECTION_BYTES = 8e9
/** A round in which everybody takes part within this time is as short as rounds of slow members are. */
const WINDOW_SECONDS = 3600
/** Of the window, the share in which nodes may be expected to come: they do not come one after the other. */
const USED_SHARE = 0.5
/** A vector that a region sends upstream: 1 billion parameters in float32. */
const MODEL_BYTES = 4e9
/** A line of 1 Gbit/s, half of it used. */
const LINE_BYTES_PER_SECOND = 62.5e6

/** The page about more nodes than were measured. Pure: the same figures give the same bytes. */
export function capacityPage({ machine, figures }: Result<'scale'>): string | undefined {
  const largest = figures.at(-1)
  if (largest === undefined) return undefined
  const limits = limitsOf(largest)
  const most = Math.min(limits.byMemory, limits.byRate)
  return `# Capacity

How many nodes a coordinator carries, and what larger federations need. **Everything below the first table is arithmetic, not a
measurement**: \`npm run bench -- scale\` measures, and writes this page from \`bench/results/scale.json\`
([BENCHMARKS.md](BENCHMARKS.md) has the whole table).

## What was measured

${machineLine(machine)}
At ${largest.nodes} nodes on one coordinator, clients and database on the same machine:

${table(
  ['', 'symbol', 'value'],
  [
    ['memory of the serving process for a connected node', 'm', `${shortNumber(largest.bytesPerNode / 1000)} kB`],
    ['memory without nodes', 'm0', `${mb(largest.servingBytes - largest.nodes * largest.bytesPerNode)} MB`],
    ['joins a second', 'j', shortNumber(largest.joinsPerSecond)],
    ['updates a second', 'u', shortNumber(largest.updatesPerSecond)],
    ['connections a second', 'c', shortNumber(largest.connectsPerSecond)],
    ['rows an update', 'r', shortNumber(largest.updateRows)],
  ],
)}
## One coordinator

- By memory: n <= (M - m0) / m. With M = ${mb(CONNECTION_BYTES)} MB for connections: ${nodesText(limits.byMemory)} nodes.
- By work: in a round everybody joins and updates once, so n (1/j + 1/u) <= f W, where W is the time in which nodes come and f the
  share of it that is used, since they do not come one after the other. With W = ${WINDOW_SECONDS} s and f = ${USED_SHARE}: ${nodesText(limits.byRate)} nodes.
- After a restart everybody connects again: n / c seconds, ${shortNumber(most / largest.connectsPerSecond)} s for ${nodesText(most)} nodes. Clients wait with jitter.
- File descriptors: one a node, and some hundred more. \`ulimit -n\` has to be above n.
- Bytes are another matter: n deltas of B bytes take n B / L seconds on a line of L bytes a second. A model of ${mb(MODEL_BYTES)} MB and a line of
  ${mb(LINE_BYTES_PER_SECOND)} MB/s carry ${shortNumber((WINDOW_SECONDS * LINE_BYTES_PER_SECOND) / MODEL_BYTES)} updates an hour; codecs divide B by up to 50. For large models the line is what ends first.

So the smaller of the first two, ${nodesText(most)} nodes, is what one coordinator of this kind carries with hourly rounds.

## Regions

A region is a coordinator that is itself a node of another: it forwards a sum and a weight. With at most k nodes at each coordinator, n nodes need
ceil(n / k) regions; where there are more than k of these, another level above them. Each level adds the time of one update,
and one vector a region to the level above.

${table(
  ['nodes', 'regions of up to k', 'levels', 'updates at the top in a round', 'rows in all databases in a round'],
  FEDERATIONS.map((nodes) => regionRow(nodes, most, largest)),
)}
k is ${nodesText(most)} here. What the table does not say: regions fail by themselves, and a round of the federation is as slow as its slowest region that
is waited for; these effects were not measured.
`
}

function limitsOf({ bytesPerNode, servingBytes, nodes, joinsPerSecond, updatesPerSecond }: ScaleFigure) {
  const alone = servingBytes - nodes * bytesPerNode
  return {
    byMemory: Math.floor((CONNECTION_BYTES - alone) / bytesPerNode),
    byRate: Math.floor((USED_SHARE * WINDOW_SECONDS) / (1 / joinsPerSecond + 1 / updatesPerSecond)),
  }
}

function regionRow(nodes: number, most: number, { updateRows }: ScaleFigure): string[] {
  const levels = [nodes]
  for (let width = nodes; width > most; width = Math.ceil(width / most)) levels.push(Math.ceil(width / most))
  const regions = levels.slice(1)
  const rows = levels.reduce((sum, width) => sum + width, 0) * updateRows
  return [
    nodesText(nodes),
    regions.length === 0 ? 'none' : regions.map(nodesText).join(' + '),
    String(levels.length),
    nodesText(levels.at(-1) ?? nodes),
    shortNumber(rows),
  ]
}

function nodesText(count: number): string {
  return count.toLocaleString('en')
}
