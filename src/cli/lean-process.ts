/**
 * How processes that mostly wait are started. Much of what node and the C library keep by default is room for garbage:
 * young objects in 16 MiB halves, and a heap of its own for every thread. What moves in bulk here lies outside of both.
 * bin/tapestry's first line says the same for whoever starts it by name.
 */
export const LEAN_FLAGS: readonly string[] = ['--max-semi-space-size=1']

/** glibc's; other C libraries pass over it. */
export const LEAN_ENVIRONMENT = { MALLOC_ARENA_MAX: '1' } as const
