// Makes a checkout ready to run: installs, generates and builds what is missing or out of date, and nothing else.
// Plain JavaScript without dependencies, because it runs before anything is installed.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const STAMPS = join(ROOT, 'node_modules/.cache/tapestry')

// prisma's client is WebAssembly over a driver adapter: naming an engine keeps it from looking for one to download.
const OFFLINE = { PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', CHECKPOINT_DISABLE: '1', PRISMA_HIDE_UPDATE_MESSAGE: '1' }

const STEPS = [
  {
    name: 'install',
    inputs: ['package.json', 'package-lock.json'],
    outputs: ['node_modules/.bin/tsc'],
    commands: [['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=error']],
  },
  {
    name: 'generate',
    inputs: ['proto', 'prisma/schema.prisma', 'buf.gen.yaml', 'src/aggregation/kernels', 'scripts/build-kernels.mjs'],
    outputs: ['src/gen/proto', 'src/gen/prisma', 'src/gen/kernels'],
    commands: [
      ['node_modules/.bin/buf', 'generate'],
      ['node_modules/.bin/prisma', 'generate'],
      [process.execPath, 'scripts/build-kernels.mjs'],
    ],
  },
  {
    name: 'build',
    inputs: ['src', 'tsconfig.json', 'tsconfig.build.json'],
    outputs: ['dist/cli/main.js'],
    before: () => rmSync(join(ROOT, 'dist'), { recursive: true, force: true }),
    commands: [['node_modules/.bin/tsc', '-p', 'tsconfig.build.json']],
  },
]

function* filesUnder(path) {
  if (!existsSync(path)) return
  if (statSync(path).isFile()) {
    yield path
    return
  }
  for (const entry of readdirSync(path).sort()) yield* filesUnder(join(path, entry))
}

function fingerprint(step) {
  const hash = createHash('sha256').update(process.version)
  for (const input of step.inputs) {
    for (const file of filesUnder(join(ROOT, input))) hash.update(file).update('\0').update(readFileSync(file))
  }
  return hash.digest('hex')
}

function isDone(step, print) {
  const stamp = join(STAMPS, step.name)
  const outputs = step.outputs.every((output) => existsSync(join(ROOT, output)))
  return outputs && existsSync(stamp) && readFileSync(stamp, 'utf8') === print
}

function run(step) {
  const print = fingerprint(step)
  if (isDone(step, print)) return
  process.stderr.write(`tapestry: ${step.name} ...\n`)
  step.before?.()
  for (const [command, ...args] of step.commands) {
    // What a step prints goes to stderr: stdout belongs to the command that follows.
    const env = { ...process.env, ...OFFLINE, PATH: `${join(ROOT, 'node_modules/.bin')}:${process.env.PATH}` }
    const result = spawnSync(command, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' })
    if (result.status === 0) continue
    process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}${result.error ?? ''}\n`)
    process.stderr.write(`tapestry: ${step.name} failed: ${[command, ...args].join(' ')}\n`)
    process.exit(result.status || 1)
  }
  mkdirSync(STAMPS, { recursive: true })
  writeFileSync(join(STAMPS, step.name), print)
}

for (const step of STEPS) run(step)
