import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { WORK_DIR } from './workspace.ts'

const VENV = join(WORK_DIR, 'venv')
/** grpcio and numpy come with it, at the versions that it pins. */
export const FLOWER = 'flwr==1.29.0'

/** A program of the environment that the peers live in. */
export function pythonProgram(name: string): string {
  return join(VENV, 'bin', name)
}

/** Makes the peers' environment, unless it is there. Nothing of the system's Python is changed. */
export function ensurePeers(): void {
  if (isInstalled()) return
  process.stderr.write(`bench: installing ${FLOWER} into ${VENV}\n`)
  execFileSync('python3', ['-m', 'venv', VENV], { stdio: ['ignore', 'ignore', 'inherit'] })
  const args = ['install', '--quiet', '--disable-pip-version-check', FLOWER]
  execFileSync(pythonProgram('pip'), args, { stdio: ['ignore', 'ignore', 'inherit'] })
}

/** Whether the peers can be measured without installing anything. */
export function isInstalled(): boolean {
  if (!existsSync(pythonProgram('python'))) return false
  try {
    execFileSync(pythonProgram('python'), ['-c', 'import flwr, grpc, numpy'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
