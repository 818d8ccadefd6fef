import { describe, expect, test } from 'vitest'
import { rotaryTable } from './rope.ts'

describe('rotaryTable', () => {
  test.each([
    [128, 16, 10_000],
    [2048, 64, 500_000],
    [64, 2, 10_000],
    [32, 256, 1],
  ])('agrees with the formula: %i positions, head size %i, theta %i', (length, headSize, theta) => {
    const { cosines, sines } = rotaryTable(length, headSize, theta)
    const half = headSize / 2
    for (let position = 0; position < length; position += 7) {
      for (let channel = 0; channel < headSize; channel++) {
        const angle = position * theta ** ((-2 * (channel % half)) / headSize)
        const index = position * headSize + channel
        expect(Math.abs(cosines[index]! - Math.cos(angle))).toBeLessThan(1e-7)
        expect(Math.abs(sines[index]! - (channel < half ? -1 : 1) * Math.sin(angle))).toBeLessThan(1e-7)
      }
    }
  })
})
