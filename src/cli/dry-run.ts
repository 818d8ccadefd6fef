import { TapestryError } from '../core/error.ts'
import type { DatasetAdvice } from '../participant/admission.ts'
import { type DryRunOptions, dryRun, type RunForecast } from '../participant/dry-run.ts'
import type { Output } from './output.ts'
import { printable } from './terminal.ts'

/**
 * Says what a node would do, and do without.
 * @throws TapestryError FAILED_PRECONDITION, after the answer was written, when anything would be refused
 */
export async function reportDryRun(options: DryRunOptions, output: Output): Promise<undefined> {
  const forecasts = await dryRun(options)
  output.result({
    json: forecasts.map(forecastJson),
    text:
      forecasts.map(forecastText).join('\n') ||
      'no run has begun a round yet; --run RUN asks about one before its first',
  })
  const refused = forecasts.filter(({ refusal, datasets }) => refusal ?? datasets.find(({ rejection }) => rejection))
  if (refused.length === 0) return undefined
  const runs = refused.map(({ run }) => run).join(', ')
  throw new TapestryError('FAILED_PRECONDITION', `not everything would be trained on in ${runs}`)
}

function forecastJson({ run, refusal, datasets }: RunForecast) {
  return { run, refusal: refusal ?? null, datasets: datasets.map(adviceJson) }
}

function adviceJson({ id, digest, languages, rejection }: DatasetAdvice) {
  return { id: id || null, digest: digest ?? null, languages: [...languages], rejection: rejection ?? null }
}

function forecastText({ run, refusal, datasets }: RunForecast): string {
  const own = refusal && [`${run}: this node's policy (${refusal.rule}) keeps it out: ${printable(refusal.detail)}`]
  return [...(own ?? []), ...datasets.map((advice) => `${run}: ${sentenceOf(advice)}`)].join('\n')
}

function sentenceOf({ id, languages, rejection }: DatasetAdvice): string {
  if (rejection === undefined) return `"${id}" (${languages.join(', ')}) would be trained on`
  return `would be refused: ${rejection.reason}: ${printable(rejection.detail)}`
}
