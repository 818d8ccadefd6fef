import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { MAX_PARAMETERS, parameterCount } from '../src/plan/budget.ts'
import { parameterSpecs } from '../src/plan/parameters.ts'
import { parsePlanSpec } from '../src/plan/spec.ts'
import { inspectDelta } from '../test/inspect-delta.ts'
import { BenchChild } from './child.ts'
import { measureKernels } from './kernels.ts'
import { measureLimits } from './limits.ts'
import { describeMachine } from './machine.ts'
import { barPlot } from './plot.ts'
import { TreeMeter } from './process-tree.ts'
import { makeReport } from './report.ts'
import { loadResults, saveResult } from './results.ts'
import { measureRound, parseShapes, QUICK_SIZE } from './round.ts'
import { spreadOf } from './statistics.ts'
import { measureTransfer } from './transfer.ts'
import { planOfSize, writeDelta } from './workload.ts'

/** Long enough for a machine with much else to do: nothing here asserts a speed. */
const PATIENCE_MS = 300_000
let directory: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bench-'))
})

afterAll(() => rm(directory, { recursive: true }))

describe('statistics', () => {
  it('takes the middle, whatever the order', () => {
    expect(spreadOf([5, 1, 3])).toEqual({ median: 3, least: 1, most: 5, count: 3 })
    expect(spreadOf([4, 1, 3, 2]).median).toBe(2.5)
    expect(() => spreadOf([])).toThrow(RangeError)
  })
})

describe('workload', () => {
  it('makes plans of a size, never larger, that the product accepts', () => {
    for (const { megabytes } of [QUICK_SIZE, ...parseShapes('8x100,32x100,4x1000')]) {
      const spec = parsePlanSpec(planOfSize(megabytes * 1e6))
      const bytes = parameterCount(spec.architecture) * 4
      expect(bytes).toBeLessThanOrEqual(megabytes * 1e6)
      expect(bytes).toBeGreaterThan(megabytes * 0.98e6)
    }
    expect(parameterCount(planOfSize(1e12).architecture)).toBeLessThanOrEqual(MAX_PARAMETERS)
  })

  it('writes deltas that pass inspection, each other than the rest', async () => {
    const spec = planOfSize(1e6)
    const first = await writeDelta(join(directory, 'a'), spec, 1)
    const second = await writeDelta(join(directory, 'b'), spec, 2)
    expect(first.digest).not.toBe(second.digest)
    const verdict = await inspectDelta(first.path, parameterSpecs(spec), { maxNorm: 0 })
    expect(verdict).toMatchObject({ ok: true, value: { bytes: first.size } })
  })
})

describe('meter', () => {
  it('counts the memory and the time of a process and of its children, and only those', async () => {
    const inner = `const kept = Buffer.alloc(2e8, 1); console.log(kept.length); setInterval(() => kept[0]++, 1000)`
    const outer = `require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(inner)}], { stdio: ['ignore', 'inherit', 'inherit'] })`
    const child = spawn(process.execPath, ['-e', `${outer}; process.stdin.resume().on('end', () => process.exit())`], {
      stdio: ['pipe', 'pipe', 'inherit'],
      detached: true,
    })
    try {
      await once(child.stdout, 'data')
      const meter = new TreeMeter({ tree: child.pid ?? 0, aside: process.pid }, ['aside'])
      meter.start()
      const usage = meter.stop()
      expect(usage.peakBytes).toBeGreaterThan(2e8)
      expect(usage.peakBytes).toBeLessThan(1e9)
      expect(usage.peakShareBytes).toBeGreaterThan(2e8)
      expect(usage.peakOf['tree']).toBe(usage.peakBytes)
      expect(usage.cpuSeconds).toBeGreaterThanOrEqual(0)
    } finally {
      process.kill(-(child.pid ?? 0), 'SIGKILL')
    }
  })
})

describe('delay proxy', () => {
  it(
    'hands on every byte in order, and ends when both sides have',
    async () => {
      const echo = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(0, '127.0.0.1')
      await once(echo, 'listening')
      const { port } = z.object({ port: z.number() }).parse(echo.address())
      const listening = z.object({ type: z.literal('listening'), port: z.number() })
      const proxy = new BenchChild('delay-proxy.ts', [JSON.stringify({ port, delayMs: 5 })], listening)
      try {
        const near = (await proxy.next()).port
        const bytes = Buffer.from(Uint32Array.from({ length: 500_000 }, (_, i) => i).buffer)
        const socket = connect({ port: near, host: '127.0.0.1', allowHalfOpen: true })
        const back: Buffer[] = []
        socket.on('data', (piece: Buffer) => back.push(piece))
        socket.end(bytes)
        await once(socket, 'end')
        expect(Buffer.concat(back).equals(bytes)).toBe(true)
      } finally {
        await proxy.stop()
        echo.close()
      }
    },
    PATIENCE_MS,
  )
})

describe('plot', () => {
  it('draws finite coordinates within its frame, for any figures', () => {
    const value = fc.option(fc.double({ min: 0, max: 1e12, noNaN: true }), { nil: undefined })
    fc.assert(
      fc.property(fc.array(fc.array(value, { minLength: 2, maxLength: 2 }), { minLength: 1, maxLength: 8 }), (rows) => {
        const groups = rows.map((values, i) => ({ label: `<${i}>`, values }))
        const svg = barPlot({ title: 'a & b', unit: 's', series: ['x', 'y'], groups })
        expect(svg).not.toMatch(/NaN|Infinity|undefined|<\d/)
        for (const [, height] of svg.matchAll(/<rect [^>]*height="([^"]+)"/g)) {
          expect(Number(height)).toBeGreaterThanOrEqual(0)
          expect(Number(height)).toBeLessThanOrEqual(340)
        }
      }),
      { seed: 7 },
    )
  })
})

describe('smoke', () => {
  it(
    'measures limits, kernels, a round and transfers at small sizes, and reports them',
    async () => {
      const limits = await measureLimits({ quick: true, directory })
      for (const { median } of Object.values(limits)) expect(median).toBeGreaterThan(0)
      const machine = await describeMachine()
      const round = await measureRound(QUICK_SIZE, { quick: true, download: true })
      expect(round.acceptSeconds.median).toBeGreaterThanOrEqual(round.downloadSeconds.median)
      expect(round.wallSeconds.median).toBeGreaterThan(0)
      expect(Object.keys(round.peakOf).sort()).toEqual(['coordinator', 'database', 'driver'])
      saveResult('round', { machine, figures: [round] }, directory)
      saveResult('kernels', { machine, figures: measureKernels({ quick: true }) }, directory)
      const transfer = await measureTransfer({ quick: true, peers: false })
      expect(transfer.rows.map(({ direction, roundTripMs }) => `${direction} ${roundTripMs}`)).toEqual([
        'upload 0',
        'download 0',
        'upload 20',
        'download 20',
      ])
      saveResult('transfer', { machine, figures: transfer }, directory)
      const { markdown, plots } = makeReport(loadResults(directory))
      expect(Object.keys(plots).sort()).toEqual(['kernels.svg', 'round.svg', 'transfer.svg'])
      expect(markdown).not.toMatch(/NaN|undefined|Infinity/)
      for (const name of Object.keys(plots)) expect(markdown).toContain(`(benchmarks/${name})`)
    },
    PATIENCE_MS,
  )
})
