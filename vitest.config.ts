import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'test/unit/**/*.test.ts', 'bench/**/*.test.ts'],
          globalSetup: ['test/postgres-setup.ts'],
          setupFiles: ['test/property-seed.ts'],
          // By default one processor of two would idle.
          maxWorkers: availableParallelism(),
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts', 'test/interop/**/*.test.ts', 'test/simulation/**/*.test.ts'],
          globalSetup: ['test/postgres-setup.ts'],
          testTimeout: 600_000,
          hookTimeout: 180_000,
          // Much of a file is waiting for windows, sockets and disks.
          maxWorkers: availableParallelism(),
        },
      },
    ],
  },
})
