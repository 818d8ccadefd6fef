/** Element types of the safetensors format that this project reads. */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  U16: 2,
  U32: 4,
  U64: 8,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
} as const

export type Dtype = keyof typeof DTYPE_BYTES

/** What a tensor must look like: name, element type, and dimensions outermost first. */
export type TensorSpec = { readonly name: string; readonly dtype: Dtype; readonly shape: readonly number[] }

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}
