import { describe, expect, it } from 'vitest'
import { MemoryMeter } from './memory-meter.ts'
import { parsePs, parseStatus, readProcesses, treeOf } from './process-table.ts'

const entry = (pid: number, parent: number, mb = 1, sharedMb = 0) => ({
  pid,
  parent,
  ownBytes: mb * 1e6,
  sharedBytes: sharedMb * 1e6,
})

describe('process table', () => {
  it('reads proc and ps', () => {
    expect(
      parseStatus(7, 'Name:\tnode\nPPid:\t3\nVmHWM:\t9 kB\nVmRSS:\t    3072 kB\nRssShmem:\t    1024 kB\n'),
    ).toEqual(entry(7, 3, 2.097152, 1.048576))
    expect(parseStatus(8, 'Name:\tkthread\nPPid:\t2\n')).toEqual(entry(8, 2, 0))
    expect(parsePs('  1     0  100\n 22     1 1024\n\n')).toEqual([
      { pid: 1, parent: 0, ownBytes: 102_400, sharedBytes: 0 },
      { pid: 22, parent: 1, ownBytes: 1_048_576, sharedBytes: 0 },
    ])
  })

  it('finds this very process', async () => {
    const own = (await readProcesses()).find(({ pid }) => pid === process.pid)
    expect(own).toMatchObject({ parent: process.ppid })
    expect(own?.ownBytes).toBeGreaterThan(1e6)
  })

  it('follows descendants in any order of the table', () => {
    const tree = treeOf(2, [entry(4, 3), entry(3, 2), entry(9, 1), entry(2, 1)])
    expect(tree.map(({ pid }) => pid)).toEqual([2, 3, 4])
    expect(treeOf(5, [entry(2, 1)])).toEqual([])
  })
})

describe('MemoryMeter', () => {
  it('keeps the peak of the whole tree', async () => {
    const samples = [[entry(2, 1, 100), entry(3, 2, 50)], [entry(2, 1, 120)], []]
    const meter = new MemoryMeter(async () => samples.shift() ?? [])
    meter.follow('coordinator', 2)
    for (let sample = 0; sample < 3; sample++) await meter.sample()
    expect(meter.peakMb('coordinator')).toBe(150)
  })

  it('counts shared memory once', async () => {
    const meter = new MemoryMeter(async () => [entry(2, 1, 10, 128), entry(3, 2, 5, 100)])
    meter.follow('database', 2)
    await meter.sample()
    expect(meter.peakMb('database')).toBe(143)
  })

  it('adds up processes of one name', async () => {
    const meter = new MemoryMeter(async () => [entry(2, 1, 100), entry(7, 1, 30)])
    meter.follow('coordinator', 2)
    meter.follow('coordinator', 7)
    await meter.sample()
    expect(meter.peakMb('coordinator')).toBe(130)
    expect(meter.peakMb('stranger')).toBe(0)
  })
})
