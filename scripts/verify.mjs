// All checks, cheapest first, ending with one plain line that adds up the test runner's own reports.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const CHECKS = [
  ['data model page', process.execPath, ['scripts/data-model.mjs', '--check']],
  ['format and lint', 'biome', ['check', '--error-on-warnings', '.']],
  ['proto lint', 'buf', ['lint']],
  ['types', 'tsc', ['--noEmit']],
]
const SUITES = ['unit', 'e2e']

const reports = mkdtempSync(join(tmpdir(), 'tapestry-verify-'))
const total = { passed: 0, failed: 0, skipped: 0 }
let broken = false

function execute(title, command, args) {
  console.log(`\n== ${title}`)
  const result = spawnSync(resolve(ROOT, 'node_modules/.bin', command), args, { cwd: ROOT, stdio: 'inherit' })
  if (result.status !== 0) broken = true
}

for (const [title, command, args] of CHECKS) execute(title, command, args)

for (const suite of SUITES) {
  const report = join(reports, `${suite}.json`)
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  execute(`tests: ${suite}`, 'vitest', ['run', '--project', suite, ...reporters])
  try {
    const counts = JSON.parse(readFileSync(report, 'utf8'))
    total.passed += counts.numPassedTests
    total.failed += counts.numFailedTests
    total.skipped += counts.numPendingTests + (counts.numTodoTests ?? 0)
    for (const file of counts.testResults) {
      for (const test of file.assertionResults) {
        if (test.status === 'pending' || test.status === 'skipped') console.log(`skipped: ${test.fullName}`)
      }
    }
  } catch (error) {
    console.error(`no report from ${suite}: ${error.message}`)
    broken = true
  }
}

rmSync(reports, { recursive: true, force: true })
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
process.exit(broken || total.failed > 0 || total.passed === 0 ? 1 : 0)
