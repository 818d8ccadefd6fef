import { create } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { ContributionSummarySchema, type Diagnostics, DiagnosticsSchema } from '../gen/proto/tapestry/v1/round_pb.ts'
import { diagnosticsTable } from './diagnostics-view.ts'
import { heatMap } from './heat-map.ts'
import { contributionsTable } from './round-view.ts'
import type { Terminal } from './terminal.ts'

const plain: Terminal = { live: false, colour: false, columns: 80 }
const names = new Map([
  ['a', 'Nairobi'],
  ['b', 'Lima\u001b[2J'],
])

function diagnostics(coefficients: readonly (number | undefined)[]): Diagnostics {
  const one = { norm: 1, cosine: 0.5, retained: 0.5, normScore: 0, agreementScore: 0, outlier: false }
  return create(DiagnosticsSchema, {
    deltaNorm: 1,
    elements: 1000n,
    comparedElements: 400n,
    contributions: ['a', 'b', 'c'].map((node, i) => {
      const coefficient = coefficients[i]
      return { ...one, node, ...(coefficient === undefined ? {} : { coefficient }) }
    }),
    cosines: [1, 0.52, -0.3, 0.52, 1, 0, -0.3, 0, 1],
  })
}

const krum = diagnostics([0, 1, 0])

describe('heatMap', () => {
  it('without colour: shades with their numbers', () => {
    expect(heatMap(krum, names, plain)?.split('\n')).toEqual([
      'cosines between contributions, over 400 of 1000 elements:  - below 0  . 0  ░ 0.25  ▒ 0.5  ▓ 0.75  █ 1',
      '           1       2       3',
      '   1 █  1.00 ▒  0.52 - -0.30   Nairobi',
      '   2 ▒  0.52 █  1.00    0.00   Lima\ufffd[2J',
      '   3 - -0.30    0.00 █  1.00   c',
    ])
  })

  it('in colour: the same numbers on a scale from blue to red', () => {
    const map = heatMap(krum, names, { ...plain, colour: true }) ?? ''
    expect(map).toContain('\u001b[30;48;5;196m   1.00 \u001b[39;49m')
    const start = String.fromCharCode(27)
    const bare = map.replace(new RegExp(`${start}\\[[\\d;]+m`, 'g'), '')
    expect(bare).not.toContain(start)
    expect(bare.split('\n')[2]).toBe('   1    1.00    0.52   -0.30   Nairobi')
    const hue = (number: string) => new RegExp(`48;5;(\\d+)m *${number}`).exec(map)?.[1]
    expect(new Set([hue('-0.30'), hue('0.00'), hue('0.52'), hue('1.00')]).size).toBe(4)
  })

  it('on a narrow terminal: shades alone', () => {
    const lines = heatMap(krum, names, { ...plain, columns: 20 })?.split('\n') ?? []
    expect(lines.slice(1)).toEqual(['   1 ██▒▒--  Nairobi', '   2 ▒▒██    Lima\ufffd[2J', '   3 --  ██  c'])
  })

  it('is none when nothing was compared', () => {
    expect(heatMap({ ...krum, cosines: [] }, names, plain)).toBeUndefined()
  })
})

describe('weights and factors', () => {
  const contributions = ['a', 'b', 'c'].map((node) => {
    return create(ContributionSummarySchema, { node, nodeName: node, member: 'm', status: 'accepted', weight: 1 / 3 })
  })
  const column = (text: string, title: string) => {
    const [head = '', ...rows] = text.split('\n')
    const end = head.indexOf(title) + title.length
    return rows.map((row) => row.slice(0, end).trimEnd().split(/ {2,}/).at(-1))
  }

  it('are both shown: what policy decided, and what the strategy made of it', () => {
    const table = contributionsTable(contributions, krum)
    expect(column(table, 'WEIGHT')).toEqual(['33.3%', '33.3%', '33.3%'])
    expect(column(table, 'FACTOR')).toEqual(['0.0000', '1.0000', '0.0000'])
    expect(column(contributionsTable(contributions, diagnostics([1 / 3, 1 / 3, 1 / 3])), 'FACTOR')[0]).toBe('= weight')
    expect(column(contributionsTable(contributions, diagnostics([])), 'FACTOR')[0]).toBe('by element')
    expect(contributionsTable(contributions)).not.toContain('FACTOR')
    expect(diagnosticsTable(krum, names)).not.toContain('FACTOR')
  })
})
