/** One file of a model directory, small enough to hold in memory. `path` is relative, with `/`. */
export type ModelFile = { readonly path: string; readonly bytes: Uint8Array }

/** Bytes of a JSON file for people and foreign readers: indented, with a final newline, keys in the given order. */
export function jsonFile(path: string, value: unknown): ModelFile {
  return { path, bytes: Buffer.from(`${JSON.stringify(value, null, 2)}\n`, 'utf8') }
}
