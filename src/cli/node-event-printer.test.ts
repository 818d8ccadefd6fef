import { expect, it } from 'vitest'
import { ensureRunId } from '../core/ids.ts'
import type { NodeEvent } from '../participant/node-event.ts'
import { NodeEventPrinter } from './node-event-printer.ts'
import { Output } from './output.ts'

const key = { run: ensureRunId('demo'), number: 1 }

function printing(json: boolean) {
  const written = { stdout: '', stderr: '' }
  const output = new Output({
    json,
    quiet: false,
    env: {},
    stdout: { write: (text) => (written.stdout += text) },
    stderr: { write: (text) => (written.stderr += text) },
  })
  let now = 0
  const printer = new NodeEventPrinter(output, () => now)
  const lines = () => written.stdout.trimEnd().split('\n')
  return { printer, written, lines, wait: (ms: number) => (now += ms) }
}

const downloading = (done: number): NodeEvent => ({ type: 'downloading', key, done, total: 100 })

it('thins progress out in JSON, but tells its end', () => {
  const { printer, lines, wait } = printing(true)
  for (const done of [1, 2, 3]) printer.print(downloading(done))
  wait(1000)
  printer.print(downloading(4))
  printer.print(downloading(100))
  printer.print({ type: 'joined', key })
  expect(lines().map((line) => JSON.parse(line))).toEqual([
    { type: 'downloading', run: 'demo', round: 1, done: 1, total: 100 },
    { type: 'downloading', run: 'demo', round: 1, done: 4, total: 100 },
    { type: 'downloading', run: 'demo', round: 1, done: 100, total: 100 },
    { type: 'joined', run: 'demo', round: 1 },
  ])
})

it('writes sentences to stderr, without what another side could smuggle in', () => {
  const { printer, written } = printing(false)
  printer.print(downloading(1))
  printer.print({ type: 'refused', key, what: 'contribution', reason: 'NON_FINITE', detail: 'NaN\u001b[2J' })
  expect(written).toEqual({ stdout: '', stderr: 'demo/1: contribution refused: NON_FINITE: NaN\ufffd[2J\n' })
})
