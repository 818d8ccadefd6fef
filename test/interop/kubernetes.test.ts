import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const run = promisify(execFile)
const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
/** The schemas of Kubernetes itself, in a package that needs no cluster. */
const VALIDATOR = at('.venv/bin/kubernetes-validate')

const there = existsSync(VALIDATOR)
const name = `the Kubernetes manifests${there ? '' : ' (skipped: no kubernetes-validate in .venv)'}`

describe.skipIf(!there)(name, () => {
  it('fit the schemas of Kubernetes, with no field that it does not know', async () => {
    const { stdout, stderr } = await run(VALIDATOR, ['--strict', at('deploy/kubernetes/tapestry.yaml')])
    expect(`${stdout}${stderr}`.match(/ passed for resource /g)).toHaveLength(7)
  })
})
