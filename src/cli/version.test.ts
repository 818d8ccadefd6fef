import { expect, it } from 'vitest'
import { version } from './version.ts'

it('reads the package', () => expect(version()).toMatch(/^\d+\.\d+\.\d+/))
