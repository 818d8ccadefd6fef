// Makes one JavaScript file of a TypeScript module that a thread or a process begins with, so that tests and tools run
// from source as from the build. A loader instead would compile the same modules again in every thread, a second each.
const { createHash } = require('node:crypto')
const { existsSync, mkdirSync, renameSync, writeFileSync } = require('node:fs')
const { basename, join } = require('node:path')
const { buildSync } = require('esbuild')

/** Inside node_modules, where the packages that stay outside the file are found from. */
const FILES = join(__dirname, '../../node_modules/.cache/tapestry/entries')
const made = new Map()

/** @returns the path of the JavaScript file; made once a process, named by its content. */
module.exports = function entryOf(source) {
  const known = made.get(source)
  if (known !== undefined) return known
  const options = { bundle: true, write: false, platform: 'node', target: 'node20', format: 'esm', sourcemap: 'inline' }
  const [{ contents }] = buildSync({ ...options, entryPoints: [source], packages: 'external' }).outputFiles
  const digest = createHash('sha256').update(contents).digest('hex').slice(0, 16)
  const path = join(FILES, `${basename(source, '.ts')}-${digest}.mjs`)
  if (!existsSync(path)) {
    mkdirSync(FILES, { recursive: true })
    const aside = `${path}.${process.pid}`
    writeFileSync(aside, contents)
    renameSync(aside, path)
  }
  made.set(source, path)
  return path
}
