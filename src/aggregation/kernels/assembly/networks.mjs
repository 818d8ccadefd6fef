// Writes AssemblyScript for sorting networks, unrolled so that the keys stay in registers.

/** The largest count of inputs with a network of its own: beyond it, code size grows faster than speed. */
export const LARGEST_NETWORK = 32

/** Batcher's odd-even merge sort for any n, as pairs of positions (Knuth, TAOCP 3, section 5.2.2, algorithm M). */
export function batcher(n) {
  const pairs = []
  for (let p = 1; p < n; p *= 2) {
    for (let k = p; k >= 1; k /= 2) {
      for (let j = k % p; j <= n - 1 - k; j += 2 * k) {
        for (let i = j; i < j + Math.min(k, n - j - k); i += 1) {
          if (Math.floor(i / (2 * p)) === Math.floor((i + k) / (2 * p))) pairs.push([i, i + k])
        }
      }
    }
  }
  return pairs
}

/** The comparators that the given positions of the result depend on, and which of their two sides are needed. */
function prune(pairs, outputs) {
  const needed = new Set(outputs)
  const kept = []
  for (const [a, b] of pairs.toReversed()) {
    if (!needed.has(a) && !needed.has(b)) continue
    kept.unshift({ a, b, low: needed.has(a), high: needed.has(b) })
    needed.add(a).add(b)
  }
  return kept
}

const comparator = ({ a, b, low, high }) => {
  if (low && high) return `t = i32x4.min_s(k${a}, k${b}); k${b} = i32x4.max_s(k${a}, k${b}); k${a} = t;`
  return low ? `k${a} = i32x4.min_s(k${a}, k${b});` : `k${b} = i32x4.max_s(k${a}, k${b});`
}

const range = (n) => Array.from({ length: n }, (_, i) => i)
const loads = (n) => range(n).map((i) => `let k${i} = input(table + ${i * 16}, at);`)

function trimmedFunction(n) {
  const network = prune(batcher(n), range(n)).map(comparator)
  const stores = range(n).map((i) => `v128.store(keys, k${i}, ${i * 16});`)
  const body = [...loads(n), 'let t = k0;', ...network, ...stores, `middle(out + at, keys, trim, ${n} - trim);`]
  return `function trimmed${n}(out: usize, table: usize, trim: i32, n: i32, keys: usize): void {
  const end = <usize>n << 2;
  for (let at: usize = 0; at < end; at += 16) {\n    ${body.join('\n    ')}\n  }\n}\n`
}

function medianFunction(n) {
  const [a, b] = [(n - 1) >> 1, n >> 1]
  const network = prune(batcher(n), [a, b]).map(comparator)
  const result = a === b ? [`const m = key(k${a});`] : [`const x = key(k${a}), y = key(k${b});`, HALF_SUM]
  const body = [...loads(n), 'let t = k0;', ...network, ...result, 'v128.store(out + at, m);']
  return `function median${n}(out: usize, table: usize, n: i32): void {
  const end = <usize>n << 2;
  for (let at: usize = 0; at < end; at += 16) {\n    ${body.join('\n    ')}\n  }\n}\n`
}

/** Halving is exact in f64, so this is the quotient that `middle` computes. */
const HALF_SUM =
  'const h = f64x2.splat(0.5), m = join(f64x2.mul(h, f64x2.add(low(x), low(y))), f64x2.mul(h, f64x2.add(high(x), high(y))));'

/** The source of trimmed2 to trimmed32, median2 to median32, and the two functions that choose among them. */
export function networkSource() {
  const counts = range(LARGEST_NETWORK + 1).slice(2)
  const choose = (name, args) => counts.map((n) => `    case ${n}: ${name}${n}(${args}); return true;`).join('\n')
  return `${counts.map(trimmedFunction).join('')}${counts.map(medianFunction).join('')}
function trimmedMeanOfFew(out: usize, table: usize, count: i32, trim: i32, n: i32, keys: usize): bool {
  switch (count) {\n${choose('trimmed', 'out, table, trim, n, keys')}\n    default: return false;\n  }
}
function medianOfFew(out: usize, table: usize, count: i32, n: i32): bool {
  switch (count) {\n${choose('median', 'out, table, n')}\n    default: return false;\n  }
}
`
}
