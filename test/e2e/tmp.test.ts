import { expect, test } from 'vitest'
import { TestNetwork } from '../network.ts'
import { until } from './waiting.ts'

const WINDOW_MS = 90_000
const SHORT = { joinWindowMs: WINDOW_MS, collectWindowMs: WINDOW_MS, evaluateWindowMs: WINDOW_MS }
test('time', async () => {
  const t0 = Date.now()
  const log = (...args: unknown[]) => process.stderr.write(`${((Date.now() - t0) / 1000).toFixed(1)} ${args.map(String).join(' ')}\n`)
  const network = await TestNetwork.create({ participants: 3 })
  log('created')
  const run = await network.createRun('missed', { target: 3, quorum: 2, rounds: 2, continuous: true, ...SHORT })
  const first = await network.startRound(run)
  const go = (nodes: typeof network.nodes) => nodes.map((node) =>
    node.run({ run, onEvent: (event) => event.type !== 'training' && log(node.name, event.type, event.type === 'round' ? event.view.phase + event.key.number : '', event.type === 'trained' ? event.wallMs : '', 'error' in event ? event.error.message : '') }),
  )
  const two = go(network.nodes.slice(0, 2))
  await until('two have joined', async () => ((await network.round(first.key)).round?.roster === 2 ? true : undefined))
  log('two joined')
  network.clock.advance(WINDOW_MS)
  log((await network.roundEnded(first.key)).round?.phase)
  const three = go(network.nodes.slice(2))
  log(JSON.stringify(await Promise.all([...two, ...three])))
  await network.close()
  log('closed')
  expect(1).toBe(1)
})
