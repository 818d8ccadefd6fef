// Coordinate-wise order statistics. A float is compared as a signed integer key in IEEE 754's total
// order: -NaN < -inf < ... < -0 < +0 < ... < +inf < NaN. The map is its own inverse.

// @ts-ignore: decorator
@inline function key(x: v128): v128 {
  return v128.xor(x, v128.and(i32x4.shr_s(x, 31), i32x4.splat(0x7fffffff)));
}
// The four coordinates at `at` of the input that a row names, as keys.
// @ts-ignore: decorator
@inline function input(row: usize, at: usize): v128 { return key(v128.load(<usize>load<u32>(row, 8) + at)); }

// Batcher's odd-even merge sort of `count` vectors of keys in memory, for counts without a network of their own.
function sortMany(keys: usize, count: i32): void {
  for (let p = 1; p < count; p <<= 1) {
    for (let k = p; k >= 1; k >>= 1) {
      for (let j = k % p; j <= count - 1 - k; j += 2 * k) {
        const last = min(k, count - j - k);
        for (let i = j; i < j + last; i++) {
          if (i / (2 * p) != (i + k) / (2 * p)) continue;
          const a = keys + (<usize>i << 4), b = keys + (<usize>(i + k) << 4);
          const x = v128.load(a), y = v128.load(b);
          v128.store(a, i32x4.min_s(x, y));
          v128.store(b, i32x4.max_s(x, y));
        }
      }
    }
  }
}

function loadMany(keys: usize, table: usize, at: usize, count: i32): void {
  for (let i = 0; i < count; i++) {
    v128.store(keys + (<usize>i << 4), input(table + (<usize>i << 4), at));
  }
}

// The mean of the sorted keys from number `first` up to `end`, added in ascending order.
// @ts-ignore: decorator
@inline function middle(out: usize, keys: usize, first: i32, end: i32): void {
  const x = key(v128.load(keys + (<usize>first << 4)));
  let s = low(x), t = high(x);
  for (let i = first + 1; i < end; i++) {
    const y = key(v128.load(keys + (<usize>i << 4)));
    s = f64x2.add(s, low(y)); t = f64x2.add(t, high(y));
  }
  const divisor = f64x2.splat(<f64>(end - first));
  v128.store(out, join(f64x2.div(s, divisor), f64x2.div(t, divisor)));
}

export function trimmedMean(out: usize, table: usize, count: i32, trim: i32, n: i32, scratch: usize): void {
  if (trimmedMeanOfFew(out, table, count, trim, n, scratch)) return;
  const end = <usize>n << 2;
  for (let at: usize = 0; at < end; at += 16) {
    loadMany(scratch, table, at, count);
    sortMany(scratch, count);
    middle(out + at, scratch, trim, count - trim);
  }
}

export function median(out: usize, table: usize, count: i32, n: i32, scratch: usize): void {
  if (medianOfFew(out, table, count, n)) return;
  trimmedMean(out, table, count, (count - 1) >> 1, n, scratch);
}
