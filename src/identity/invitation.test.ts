import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ensureFederationId } from '../core/ids.ts'
import { createInvitation, parseAddress, parseInvitation, secretHash } from './invitation.ts'

const FEDERATION = ensureFederationId(`sha256:${'0f'.repeat(32)}`)
const SECRET = Uint8Array.from({ length: 32 }, (_, i) => i)
const TEXT = createInvitation(SECRET, 'example.org:7400', FEDERATION)
const invalid = expect.objectContaining({ code: 'INVITATION_INVALID' })
const withBody = (body: unknown) => `tapestry-invite:1:${Buffer.from(JSON.stringify(body)).toString('base64url')}`

describe('invitation', () => {
  it('survives being handed over', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.integer({ min: 1, max: 65_535 }),
        (secret, port) => {
          const address = `[::1]:${port}`
          const parsed = parseInvitation(`\n  ${createInvitation(secret, address, FEDERATION)}\t\n`)
          expect(parsed).toEqual({ address, federation: FEDERATION, secret: Buffer.from(secret) })
        },
      ),
    )
  })

  it('is one line', () => {
    expect(TEXT).toMatch(/^tapestry-invite:1:[A-Za-z0-9_-]+$/)
  })

  it('refuses what is not one', () => {
    fc.assert(fc.property(fc.string(), (text) => void expect(() => parseInvitation(text)).toThrow(invalid)))
    expect(() => parseInvitation(TEXT.slice(0, -10))).toThrow(invalid)
    expect(() => parseInvitation(TEXT.replace(':1:', ':2:'))).toThrow(invalid)
    expect(() => parseInvitation(TEXT + 'A'.repeat(2000))).toThrow(invalid)
  })

  it.each([
    ['a short secret', { secret: 'AAAA' }],
    ['a bad federation', { federation: 'sha256:00' }],
    ['no port', { address: 'example.org' }],
    ['a path', { address: 'example.org:1/x' }],
    ['more than it should', { extra: 1 }],
  ])('refuses %s', (_, change) => {
    const body = { address: 'a:1', federation: FEDERATION, secret: Buffer.from(SECRET).toString('base64url') }
    expect(parseInvitation(withBody(body)).address).toBe('a:1')
    expect(() => parseInvitation(withBody({ ...body, ...change }))).toThrow(invalid)
  })

  it('is made of 32 bytes', () => {
    const wrong = expect.objectContaining({ code: 'INVALID_ARGUMENT' })
    expect(() => createInvitation(SECRET.subarray(1), 'a:1', FEDERATION)).toThrow(wrong)
    expect(() => createInvitation(SECRET, 'a:0', FEDERATION)).toThrow(wrong)
  })

  it('is kept as a hash', () => {
    expect(secretHash(SECRET)).toBe('630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd')
  })
})

describe('address', () => {
  it.each([
    ['example.org:7400', 'example.org', 7400],
    ['127.0.0.1:1', '127.0.0.1', 1],
    ['[fe80::1]:65535', 'fe80::1', 65_535],
  ])('reads %s', (address, host, port) => expect(parseAddress(address)).toEqual({ host, port }))

  it.each(['', ':1', 'a', 'a:', 'a:0', 'a:65536', 'a:1e3', '::1:5', '[a]:1', '[1.2.3.4]:1', 'a b:1', 'https://a:1'])(
    'refuses %j',
    (address) => {
      expect(() => parseAddress(address)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    },
  )
})
