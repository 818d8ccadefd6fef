/** Cosines and sines of every position and channel: each [length, headSize], row-major. */
export type RotaryTable = { readonly cosines: readonly number[]; readonly sines: readonly number[] }

/**
 * Rotary position embedding (Su et al., arXiv:2104.09864) in the "rotate half" layout of Hugging
 * Face: channel i and channel i + headSize/2 form a pair with frequency theta^(-2i/headSize). The
 * sine of the first half carries the minus sign, so rotation is x * cosines + swapHalves(x) * sines.
 *
 * The table is part of the graph's bytes, which must be equal on every machine, so it is made of
 * exactly rounded operations only; Math.pow, sin and cos may differ between engines.
 */
export function rotaryTable(length: number, headSize: number, theta: number): RotaryTable {
  const half = headSize / 2
  const base = root(theta, half)
  const cosines = new Array<number>(length * headSize).fill(0)
  const sines = new Array<number>(length * headSize).fill(0)
  let frequency = 1
  for (let channel = 0; channel < half; channel++, frequency /= base) {
    const [stepCosine, stepSine] = cosineAndSine(frequency)
    let [cosine, sine] = [1, 0]
    for (let position = 0; position < length; position++) {
      const first = position * headSize + channel
      cosines[first] = cosines[first + half] = Math.fround(cosine)
      sines[first] = Math.fround(-sine)
      sines[first + half] = Math.fround(sine)
      ;[cosine, sine] = [cosine * stepCosine - sine * stepSine, sine * stepCosine + cosine * stepSine]
    }
  }
  return { cosines, sines }
}

/** The positive `degree`-th root of a number of at least one, by bisection to the last bit. */
function root(of: number, degree: number): number {
  let [low, high] = [1, of]
  for (let halving = 0; halving < 128; halving++) {
    const middle = (low + high) / 2
    let power = 1
    for (let factor = 0; factor < degree; factor++) power *= middle
    if (power > of) high = middle
    else low = middle
  }
  return low
}

/** Taylor series for an angle in [0, 1] radian: the 13th pair of terms is below 2^-80. */
function cosineAndSine(angle: number): readonly [number, number] {
  let [cosine, sine, term] = [0, 0, 1]
  for (let order = 0; order < 26; order += 2) {
    cosine += term
    term *= angle / (order + 1)
    sine += term
    term *= -angle / (order + 2)
  }
  return [cosine, sine]
}
