// Weighted sums in f64. The arithmetic is stated in ../reference.ts; element counts are multiples of 16.

// The halves of four floats as doubles.
// @ts-ignore: decorator
@inline function low(x: v128): v128 { return f64x2.promote_low_f32x4(x); }
// @ts-ignore: decorator
@inline function high(x: v128): v128 { return f64x2.promote_low_f32x4(v128.shuffle<i64>(x, x, 1, 1)); }
// @ts-ignore: decorator
@inline function join(a: v128, b: v128): v128 {
  return v128.shuffle<i64>(f32x4.demote_f64x2_zero(a), f32x4.demote_f64x2_zero(b), 0, 2);
}
// One term: a product and a sum, each rounded by itself.
// @ts-ignore: decorator
@inline function term(sum: v128, w: v128, x: v128): v128 { return f64x2.add(sum, f64x2.mul(w, x)); }

// @ts-ignore: decorator
@inline const ROW: usize = 16;
// Rows that are read side by side: hardware prefetches only so many streams. The sums of the others
// wait in memory, which changes no result.
// @ts-ignore: decorator
@inline const GROUP: usize = 8 * ROW;

export function accumulateF32(acc: usize, table: usize, count: i32, n: i32): void {
  const end = table + <usize>count * ROW;
  for (; table < end; table += GROUP) groupF32(acc, table, min(table + GROUP, end), n);
}

function groupF32(acc: usize, table: usize, rows: usize, n: i32): void {
  const end = <usize>n << 2;
  for (let at: usize = 0; at < end; at += 64) {
    let s0 = v128.load(acc), s1 = v128.load(acc, 16), s2 = v128.load(acc, 32), s3 = v128.load(acc, 48);
    let s4 = v128.load(acc, 64), s5 = v128.load(acc, 80), s6 = v128.load(acc, 96), s7 = v128.load(acc, 112);
    for (let row = table; row < rows; row += ROW) {
      const w = v128.load64_splat(row);
      const x = <usize>load<u32>(row, 8) + at;
      s0 = term(s0, w, f64x2.promote_low_f32x4(v128.load64_zero(x)));
      s1 = term(s1, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 8)));
      s2 = term(s2, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 16)));
      s3 = term(s3, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 24)));
      s4 = term(s4, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 32)));
      s5 = term(s5, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 40)));
      s6 = term(s6, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 48)));
      s7 = term(s7, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 56)));
    }
    v128.store(acc, s0); v128.store(acc, s1, 16); v128.store(acc, s2, 32); v128.store(acc, s3, 48);
    v128.store(acc, s4, 64); v128.store(acc, s5, 80); v128.store(acc, s6, 96); v128.store(acc, s7, 112);
    acc += 128;
  }
}

// accumulateF32 from zero and narrow, without sums in memory: for few rows.
export function weightedSumF32(out: usize, table: usize, count: i32, n: i32): void {
  const rows = table + <usize>count * ROW;
  const end = <usize>n << 2;
  for (let at: usize = 0; at < end; at += 64) {
    let s0 = f64x2.splat(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
    for (let row = table; row < rows; row += ROW) {
      const w = v128.load64_splat(row);
      const x = <usize>load<u32>(row, 8) + at;
      s0 = term(s0, w, f64x2.promote_low_f32x4(v128.load64_zero(x)));
      s1 = term(s1, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 8)));
      s2 = term(s2, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 16)));
      s3 = term(s3, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 24)));
      s4 = term(s4, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 32)));
      s5 = term(s5, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 40)));
      s6 = term(s6, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 48)));
      s7 = term(s7, w, f64x2.promote_low_f32x4(v128.load64_zero(x, 56)));
    }
    v128.store(out + at, join(s0, s1)); v128.store(out + at, join(s2, s3), 16);
    v128.store(out + at, join(s4, s5), 32); v128.store(out + at, join(s6, s7), 48);
  }
}

export function accumulateBf16(acc: usize, table: usize, count: i32, n: i32): void {
  const end = table + <usize>count * ROW;
  for (; table < end; table += GROUP) groupBf16(acc, table, min(table + GROUP, end), n);
}

function groupBf16(acc: usize, table: usize, rows: usize, n: i32): void {
  const end = <usize>n << 1;
  for (let at: usize = 0; at < end; at += 32) {
    let s0 = v128.load(acc), s1 = v128.load(acc, 16), s2 = v128.load(acc, 32), s3 = v128.load(acc, 48);
    let s4 = v128.load(acc, 64), s5 = v128.load(acc, 80), s6 = v128.load(acc, 96), s7 = v128.load(acc, 112);
    for (let row = table; row < rows; row += ROW) {
      const w = v128.load64_splat(row);
      const x = <usize>load<u32>(row, 8) + at;
      const zero = i32x4.splat(0);
      const a = v128.load(x), b = v128.load(x, 16);
      const p = v128.shuffle<i16>(zero, a, 0, 8, 1, 9, 2, 10, 3, 11), q = v128.shuffle<i16>(zero, a, 4, 12, 5, 13, 6, 14, 7, 15);
      const r = v128.shuffle<i16>(zero, b, 0, 8, 1, 9, 2, 10, 3, 11), t = v128.shuffle<i16>(zero, b, 4, 12, 5, 13, 6, 14, 7, 15);
      s0 = term(s0, w, low(p)); s1 = term(s1, w, high(p)); s2 = term(s2, w, low(q)); s3 = term(s3, w, high(q));
      s4 = term(s4, w, low(r)); s5 = term(s5, w, high(r)); s6 = term(s6, w, low(t)); s7 = term(s7, w, high(t));
    }
    v128.store(acc, s0); v128.store(acc, s1, 16); v128.store(acc, s2, 32); v128.store(acc, s3, 48);
    v128.store(acc, s4, 64); v128.store(acc, s5, 80); v128.store(acc, s6, 96); v128.store(acc, s7, 112);
    acc += 128;
  }
}

// Four halves, each in the low half of a lane, as floats. Scaling by 2^112 moves the exponent and
// makes subnormals normal; infinities and NaNs then get the largest exponent back.
// @ts-ignore: decorator
@inline function halves(bits: v128): v128 {
  const magnitude = v128.and(bits, i32x4.splat(0x7fff));
  const scaled = f32x4.mul(i32x4.shl(magnitude, 13), f32x4.splat(reinterpret<f32>(0x77800000)));
  const special = v128.and(i32x4.gt_s(magnitude, i32x4.splat(0x7bff)), i32x4.splat(0x7f800000));
  return v128.or(v128.or(scaled, special), i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16));
}

export function accumulateF16(acc: usize, table: usize, count: i32, n: i32): void {
  const end = table + <usize>count * ROW;
  for (; table < end; table += GROUP) groupF16(acc, table, min(table + GROUP, end), n);
}

function groupF16(acc: usize, table: usize, rows: usize, n: i32): void {
  const end = <usize>n << 1;
  for (let at: usize = 0; at < end; at += 16) {
    let s0 = v128.load(acc), s1 = v128.load(acc, 16), s2 = v128.load(acc, 32), s3 = v128.load(acc, 48);
    for (let row = table; row < rows; row += ROW) {
      const w = v128.load64_splat(row);
      const x = v128.load(<usize>load<u32>(row, 8) + at);
      const p = halves(i32x4.extend_low_i16x8_u(x)), q = halves(i32x4.extend_high_i16x8_u(x));
      s0 = term(s0, w, low(p)); s1 = term(s1, w, high(p)); s2 = term(s2, w, low(q)); s3 = term(s3, w, high(q));
    }
    v128.store(acc, s0); v128.store(acc, s1, 16); v128.store(acc, s2, 32); v128.store(acc, s3, 48);
    acc += 64;
  }
}

// @ts-ignore: decorator
@inline function quantised(sum: v128, w: v128, q: v128): v128 { return term(sum, w, f64x2.convert_low_i32x4_s(q)); }
// @ts-ignore: decorator
@inline function swap(x: v128): v128 { return v128.shuffle<i64>(x, x, 1, 1); }

export function accumulateInt8(acc: usize, table: usize, count: i32, n: i32, shift: i32): void {
  const end = table + <usize>count * ROW;
  for (; table < end; table += GROUP) groupInt8(acc, table, min(table + GROUP, end), n, shift);
}

function groupInt8(acc: usize, table: usize, rows: usize, n: i32, shift: i32): void {
  for (let at: usize = 0; at < <usize>n; at += 16) {
    const block = (at >> shift) << 2;
    let s0 = v128.load(acc), s1 = v128.load(acc, 16), s2 = v128.load(acc, 32), s3 = v128.load(acc, 48);
    let s4 = v128.load(acc, 64), s5 = v128.load(acc, 80), s6 = v128.load(acc, 96), s7 = v128.load(acc, 112);
    for (let row = table; row < rows; row += ROW) {
      const w = f64x2.splat(load<f64>(row) * <f64>load<f32>(<usize>load<u32>(row, 12) + block));
      const x = v128.load(<usize>load<u32>(row, 8) + at);
      const p = i16x8.extend_low_i8x16_s(x), q = i16x8.extend_high_i8x16_s(x);
      const a = i32x4.extend_low_i16x8_s(p), b = i32x4.extend_high_i16x8_s(p);
      const c = i32x4.extend_low_i16x8_s(q), d = i32x4.extend_high_i16x8_s(q);
      s0 = quantised(s0, w, a); s1 = quantised(s1, w, swap(a));
      s2 = quantised(s2, w, b); s3 = quantised(s3, w, swap(b));
      s4 = quantised(s4, w, c); s5 = quantised(s5, w, swap(c));
      s6 = quantised(s6, w, d); s7 = quantised(s7, w, swap(d));
    }
    v128.store(acc, s0); v128.store(acc, s1, 16); v128.store(acc, s2, 32); v128.store(acc, s3, 48);
    v128.store(acc, s4, 64); v128.store(acc, s5, 80); v128.store(acc, s6, 96); v128.store(acc, s7, 112);
    acc += 128;
  }
}

export function widenBf16(out: usize, x: usize, n: i32): void {
  const end = x + (<usize>n << 1);
  for (; x < end; x += 16) {
    const bits = v128.load(x);
    v128.store(out, i32x4.shl(i32x4.extend_low_i16x8_u(bits), 16));
    v128.store(out, i32x4.shl(i32x4.extend_high_i16x8_u(bits), 16), 16);
    out += 32;
  }
}

export function widenF16(out: usize, x: usize, n: i32): void {
  const end = x + (<usize>n << 1);
  for (; x < end; x += 16) {
    const bits = v128.load(x);
    v128.store(out, halves(i32x4.extend_low_i16x8_u(bits)));
    v128.store(out, halves(i32x4.extend_high_i16x8_u(bits)), 16);
    out += 32;
  }
}

export function dequantise(out: usize, x: usize, scales: usize, n: i32, shift: i32): void {
  for (let at: usize = 0; at < <usize>n; at += 16) {
    const s = v128.load32_splat(scales + ((at >> shift) << 2));
    const v = v128.load(x + at);
    const p = i16x8.extend_low_i8x16_s(v), q = i16x8.extend_high_i8x16_s(v);
    v128.store(out, f32x4.mul(s, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(p))));
    v128.store(out, f32x4.mul(s, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(p))), 16);
    v128.store(out, f32x4.mul(s, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(q))), 32);
    v128.store(out, f32x4.mul(s, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(q))), 48);
    out += 64;
  }
}

export function scale(out: usize, x: usize, factor: f64, n: i32): void {
  const f = f64x2.splat(factor);
  const end = x + (<usize>n << 2);
  for (; x < end; x += 16) {
    const v = v128.load(x);
    v128.store(out, join(f64x2.mul(f, low(v)), f64x2.mul(f, high(v))));
    out += 16;
  }
}

export function narrow(out: usize, acc: usize, n: i32): void {
  const end = out + (<usize>n << 2);
  for (; out < end; out += 16) {
    v128.store(out, join(v128.load(acc), v128.load(acc, 16)));
    acc += 32;
  }
}
