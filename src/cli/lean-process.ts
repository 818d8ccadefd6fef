/**
 * How processes that mostly wait are started. Much of what node and the C library keep by default is room for garbage:
 * young objects in 16 MiB halves, a heap of its own for every thread, and as much garbage as there are old objects. What
 * moves in bulk here lies outside of all these, but is held by that garbage: connections, and what they were read into.
 * bin/tapestry's first line says the same for whoever starts it by name.
 */
export const LEAN_FLAGS: readonly string[] = ['--max-semi-space-size=1', '--heap-growing-percent=25']

/** glibc's; other C libraries pass over it. */
export const LEAN_ENVIRONMENT = { MALLOC_ARENA_MAX: '1' } as const
