"""The cases of kernels.ts in numpy, one thread: prints [{name, median, best}] in GB/s of input as JSON."""

import json
import sys
import time

import numpy as np

INPUT_BYTES, REPETITIONS = int(sys.argv[1]), int(sys.argv[2])
COUNTS = [4, 8, 32]


def widen(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def weighted_sum(inputs, to_float):
    out = np.zeros(inputs[0].shape, np.float32)
    weight = np.float32(1 / len(inputs))
    for x in inputs:
        out += weight * to_float(x)
    return out


def cases():
    raw = np.random.default_rng(1).standard_normal(INPUT_BYTES // 4).astype(np.float32)
    target = np.empty_like(raw)
    yield "memcpy", lambda: np.copyto(target, raw)
    int8 = raw.view(np.int8)
    bf16 = raw.view(np.uint16)
    for count in COUNTS:
        f32 = raw[: raw.size // count * count].reshape(count, -1)
        b16 = bf16[: bf16.size // count * count].reshape(count, -1)
        i8 = int8[: int8.size // count * count].reshape(count, -1)
        scale = np.float32(1 / 127)
        yield f"f32 weighted sum of {count}", lambda x=f32: weighted_sum(x, lambda v: v)
        yield f"bf16 weighted sum of {count}", lambda x=b16: weighted_sum(x, widen)
        yield f"int8 weighted sum of {count}", lambda x=i8: weighted_sum(x, lambda v: v.astype(np.float32) * scale)
        # Sorting takes numpy some seconds for the whole input: a sixteenth gives the same rate.
        part = f32[:, : f32.shape[1] // 16]
        yield f"median of {count}", lambda x=part: np.median(x, axis=0)
        trim = count >> 2
        yield f"trimmed mean of {count}", lambda x=part, t=trim: np.sort(x, axis=0)[t : len(x) - t].mean(axis=0)
    yield "sum of squares", lambda: np.dot(raw, raw)


def measure(name, run):
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    read = INPUT_BYTES / (16 if name.startswith(("median", "trimmed")) else 1)
    seconds.sort()
    return {"name": name, "median": read / seconds[len(seconds) // 2] / 1e9, "best": read / seconds[0] / 1e9}


with np.errstate(all="ignore"):
    print(json.dumps([measure(name, run) for name, run in cases()]))
