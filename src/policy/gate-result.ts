import type { GateResult } from '../model/manifest.ts'
import type { GateRecord } from './release.ts'

/** What the gate found, in the form that manifests state: verdicts and evidence, without the pooled scores. */
export function gateResultOf({ policy, confidence, languages, communities }: GateRecord): GateResult {
  const groups = [...languages, ...communities].map(({ language, community, verdict, evidence, leftOut }) => ({
    ...{ language, community, verdict, leftOut },
    ...(evidence !== null && { evidence }),
  }))
  return { policy, confidence, groups }
}
