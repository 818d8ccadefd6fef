// Sums in f64 over eight interleaved partial sums: see dotProduct in ../reference.ts.

// @ts-ignore: decorator
@inline function total(s0: v128, s1: v128, s2: v128, s3: v128): f64 {
  const s = f64x2.add(f64x2.add(s0, s1), f64x2.add(s2, s3));
  return f64x2.extract_lane(s, 0) + f64x2.extract_lane(s, 1);
}

export function dot(x: usize, y: usize, n: i32): f64 {
  let s0 = f64x2.splat(0), s1 = s0, s2 = s0, s3 = s0;
  const end = x + (<usize>n << 2);
  for (; x < end; x += 32) {
    const a = v128.load(x), b = v128.load(x, 16), c = v128.load(y), d = v128.load(y, 16);
    s0 = term(s0, low(a), low(c)); s1 = term(s1, high(a), high(c));
    s2 = term(s2, low(b), low(d)); s3 = term(s3, high(b), high(d));
    y += 32;
  }
  return total(s0, s1, s2, s3);
}

export function sumOfSquares(x: usize, n: i32): f64 {
  let s0 = f64x2.splat(0), s1 = s0, s2 = s0, s3 = s0;
  const end = x + (<usize>n << 2);
  for (; x < end; x += 32) {
    const v = v128.load(x), u = v128.load(x, 16);
    const a = low(v), b = high(v), c = low(u), d = high(u);
    s0 = term(s0, a, a); s1 = term(s1, b, b); s2 = term(s2, c, c); s3 = term(s3, d, d);
  }
  return total(s0, s1, s2, s3);
}

export function compare(x: usize, delta: usize, n: i32, sums: usize): void {
  let s0 = f64x2.splat(0), s1 = s0, s2 = s0, s3 = s0, d0 = s0, d1 = s0, d2 = s0, d3 = s0;
  const end = x + (<usize>n << 2);
  for (; x < end; x += 32) {
    const v = v128.load(x), u = v128.load(x, 16), e = v128.load(delta), f = v128.load(delta, 16);
    const a = low(v), b = high(v), c = low(u), d = high(u);
    s0 = term(s0, a, a); s1 = term(s1, b, b); s2 = term(s2, c, c); s3 = term(s3, d, d);
    d0 = term(d0, a, low(e)); d1 = term(d1, b, high(e)); d2 = term(d2, c, low(f)); d3 = term(d3, d, high(f));
    delta += 32;
  }
  store<f64>(sums, load<f64>(sums) + total(s0, s1, s2, s3));
  store<f64>(sums, load<f64>(sums, 8) + total(d0, d1, d2, d3), 8);
}

export function finish(out: usize, delta: usize, base: usize, acc: usize, n: i32, sums: usize): void {
  const end = out + (<usize>n << 2);
  for (let o = out, d = delta; o < end; o += 16, d += 16) {
    const b = v128.load(base), s = v128.load(acc), t = v128.load(acc, 16);
    v128.store(d, join(s, t));
    v128.store(o, join(f64x2.add(low(b), s), f64x2.add(high(b), t)));
    base += 16; acc += 32;
  }
  store<f64>(sums, load<f64>(sums) + sumOfSquares(delta, n));
  store<f64>(sums, load<f64>(sums, 8) + sumOfSquares(out, n), 8);
}
