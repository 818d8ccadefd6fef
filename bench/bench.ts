// `npm run bench [-- PART...] [--shapes 8x100,32x100,4x1000] [--quick] [--report]`: measures the parts that are named, or
// all of them, and writes bench/results/ and docs/BENCHMARKS.md. --shapes says which rounds (nodes x MB; 8x100 by
// default) `round` and `flower` measure; --quick takes small sizes once, prints, and writes nothing; --report only
// writes the documents again. --nodes 100,1000 chooses the sizes of `scale`.
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type CodecFigure, codecLine, measureCodecs } from './codecs.ts'
import { compareWithFlower, type FlowerFigure, flowerLines } from './flower.ts'
import { kernelLines, measureKernels } from './kernels.ts'
import { largeLine, measureLarge } from './large.ts'
import { describeMachine } from './machine.ts'
import { type MergeMemoryFigure, measureMergeMemory, mergeMemoryLine } from './merge-memory.ts'
import { ensurePeers } from './python.ts'
import { makeReport, PLOTS } from './report.ts'
import { type Figures, loadResults, PARTS, type Part, saveResult } from './results.ts'
import { measureRound, parseShapes, QUICK_SIZE, type RoundFigure, type RoundSize, roundLine } from './round.ts'
import { measureScale, type ScaleFigure, scaleLine } from './scale.ts'
import { measureTransfer, transferLine } from './transfer.ts'

const DOCS = fileURLToPath(new URL('../docs', import.meta.url))

/** Called after every size, so that a long measurement that is cut short leaves what it has. */
type Keep<P extends Part> = (figures: Figures[P]) => void

type Choice = {
  readonly quick: boolean
  readonly shapes: readonly RoundSize[]
  readonly nodes: readonly number[] | undefined
}

/** Parts that compare with nobody else's programs. */
const OWN: ReadonlySet<Part> = new Set(['codecs', 'large', 'scale'])

const MEASURES: { readonly [P in Part]: (choice: Choice, keep: Keep<P>) => Promise<void> } = {
  async kernels({ quick }, keep) {
    const figure = measureKernels({ quick })
    say(kernelLines(figure))
    keep(figure)
  },
  async memory({ quick }, keep) {
    const figures: MergeMemoryFigure[] = []
    await measureMergeMemory({ quick }, (figure) => {
      say(mergeMemoryLine(figure))
      figures.push(figure)
      keep(figures)
    })
  },
  async round({ quick, shapes }, keep) {
    const figures: RoundFigure[] = []
    for (const size of shapes) {
      const figure = await measureRound(size, { quick, plain: true })
      say(roundLine(figure))
      figures.push(figure)
      keep(figures)
    }
  },
  async transfer({ quick }, keep) {
    const figure = await measureTransfer({ quick })
    for (const row of figure.rows) say(transferLine(row))
    keep(figure)
  },
  async codecs({ quick }, keep) {
    const figures: CodecFigure[] = []
    await measureCodecs({ quick }, (figure) => {
      say(codecLine(figure))
      figures.push(figure)
      keep(figures)
    })
  },
  async large({ quick }, keep) {
    const figure = await measureLarge({ quick })
    say(largeLine(figure))
    keep(figure)
  },
  async scale({ quick, nodes }, keep) {
    const figures: ScaleFigure[] = []
    await measureScale({ quick, ...(nodes && { nodes }) }, (figure) => {
      say(scaleLine(figure))
      figures.push(figure)
      keep(figures)
    })
  },
  async flower({ quick, shapes }, keep) {
    const figures: FlowerFigure[] = []
    for (const size of shapes) {
      const figure = await compareWithFlower(size, { quick })
      say(flowerLines(figure))
      figures.push(figure)
      keep(figures)
    }
  },
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

async function measure<P extends Part>(part: P, choice: Choice): Promise<void> {
  const machine = await describeMachine()
  process.stderr.write(`bench: ${part}\n`)
  await MEASURES[part](choice, (figures) => {
    if (!choice.quick) saveResult(part, { machine, figures })
  })
}

function writeReport(): void {
  const { markdown, capacity, plots } = makeReport(loadResults())
  mkdirSync(`${DOCS}/${PLOTS}`, { recursive: true })
  writeFileSync(`${DOCS}/BENCHMARKS.md`, markdown)
  if (capacity !== undefined) writeFileSync(`${DOCS}/CAPACITY.md`, capacity)
  for (const [name, svg] of Object.entries(plots)) writeFileSync(`${DOCS}/${PLOTS}/${name}`, svg)
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      report: { type: 'boolean', default: false },
      shapes: { type: 'string' },
      nodes: { type: 'string' },
    },
    allowPositionals: true,
  })
  const unknown = positionals.find((name) => !PARTS.some((part) => part === name))
  if (unknown !== undefined) throw new Error(`there is no part ${unknown}: ${PARTS.join(', ')}`)
  if (!values.report) {
    const parts = PARTS.filter((part) => positionals.length === 0 || positionals.includes(part))
    if (parts.some((part) => !OWN.has(part))) ensurePeers()
    const nodes = values.nodes?.split(',').map(Number)
    const shapes = values.quick ? [QUICK_SIZE] : parseShapes(values.shapes)
    for (const part of parts) await measure(part, { quick: values.quick, shapes, nodes })
  }
  if (!values.quick) writeReport()
}

await main()
