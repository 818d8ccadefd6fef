import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isS3, s3Location, s3Text } from './location.ts'
import { partsOf } from './upload.ts'

describe('the setting of a bucket', () => {
  it('names bucket, prefix and options', () => {
    expect(s3Location('s3://blobs')).toEqual({
      bucket: 'blobs',
      prefix: '',
      endpoint: undefined,
      region: undefined,
      pathStyle: false,
      cacheBytes: 20 * 2 ** 30,
    })
    expect(
      s3Location('s3://my.blobs/one/two?endpoint=https://s3.example.org:9000&region=eu-1&cache=512MiB'),
    ).toMatchObject({
      bucket: 'my.blobs',
      prefix: 'one/two/',
      endpoint: 'https://s3.example.org:9000',
      region: 'eu-1',
      pathStyle: true,
      cacheBytes: 2 ** 29,
    })
    expect(s3Location('s3://blobs/one/?endpoint=http%3A%2F%2Fs3&style=virtual')).toMatchObject({
      prefix: 'one/',
      endpoint: 'http://s3',
      pathStyle: false,
    })
  })

  it.each([
    's3://',
    's3://B',
    's3://Blobs_/x',
    's3:///prefix',
    's3://blobs/a//b',
    's3://blobs/a b',
    's3://blobs/ä',
    's3://blobs?acl=public',
    's3://blobs?region=a&region=b',
    's3://blobs?region=EU 1',
    's3://blobs?endpoint=ftp://s3',
    's3://blobs?endpoint=s3.example.org',
    's3://blobs?style=host',
    's3://blobs?cache=5',
    's3://blobs?cache=0GiB',
    's3://blobs:9000/x',
    's3://blobs/x#y',
    'file:/blobs',
    'http://blobs',
  ])('refuses %s', (setting) => {
    expect(() => s3Location(setting)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  it.each([
    's3://AKIAEXAMPLE:hush-hush@blobs/x',
    's3://blobs?endpoint=https://AKIAEXAMPLE:hush-hush@s3.example.org',
    's3://blobs?secretAccessKey=hush-hush',
  ])('refuses credentials, and does not repeat them', (setting) => {
    try {
      s3Location(setting)
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' })
      expect(String(error)).not.toMatch(/hush|AKIA/)
    }
  })

  it('throws nothing but INVALID_ARGUMENT, whatever it is', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.webUrl({ validSchemes: ['s3'], withQueryParameters: true })), (text) => {
        const setting = `s3://${text.replace(/^s3:\/\//, '')}`
        expect(isS3(setting)).toBe(true)
        try {
          const location = s3Location(setting)
          expect(location.prefix === '' || location.prefix.endsWith('/')).toBe(true)
          expect(s3Text(location)).toContain(`s3://${location.bucket}/${location.prefix}`)
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' })
        }
      }),
    )
  })
})

describe('the parts of a file', () => {
  it('cover it without gaps, within what S3 takes, and are the same every time', () => {
    // As large as an object of S3 may be.
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5 * 2 ** 40 }), (size) => {
        const parts = partsOf(size)
        expect(parts.length).toBeGreaterThan(0)
        expect(parts.length).toBeLessThanOrEqual(10_000)
        expect(parts[0]?.start).toBe(0)
        expect(parts.at(-1)?.end).toBe(size)
        expect(partsOf(size)).toEqual(parts)
        let [gaps, small] = [0, 0]
        for (const [index, { number, start, end }] of parts.entries()) {
          if (number !== index + 1 || (index > 0 && parts[index - 1]?.end !== start)) gaps += 1
          if (index < parts.length - 1 && end - start < 5 * 2 ** 20) small += 1
        }
        expect([gaps, small]).toEqual([0, 0])
      }),
      { numRuns: 15 },
    )
  })
})
