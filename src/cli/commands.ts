import type { Definition } from './command.ts'

/**
 * Every command, in the order of --help. Loaded when asked for: what one command needs, from the
 * protocol to the certificates, would more than double the time that another takes to start.
 */
export const COMMANDS: ReadonlyMap<string, () => Promise<Definition>> = new Map([
  ['demo', async () => (await import('./commands/demo.ts')).demo],
  ['node init', async () => (await import('./commands/node-init.ts')).nodeInit],
  ['node join', async () => (await import('./commands/node-join.ts')).nodeJoin],
  ['node run', async () => (await import('./commands/node-run.ts')).nodeRun],
  ['node status', async () => (await import('./commands/node-status.ts')).nodeStatus],
  ['node skip', async () => (await import('./commands/node-skip.ts')).nodeSkip],
  ['node pause', async () => (await import('./commands/node-pause.ts')).nodePause],
  ['node resume', async () => (await import('./commands/node-pause.ts')).nodeResume],
  ['node leave', async () => (await import('./commands/node-leave.ts')).nodeLeave],
  ['node rotate-key', async () => (await import('./commands/node-rotate-key.ts')).nodeRotateKey],
  ['node export', async () => (await import('./commands/node-export.ts')).nodeExport],
  ['dataset add', async () => (await import('./commands/dataset-add.ts')).datasetAdd],
  ['dataset ls', async () => (await import('./commands/dataset-ls.ts')).datasetLs],
  ['dataset show', async () => (await import('./commands/dataset-show.ts')).datasetShow],
  ['dataset withdraw', async () => (await import('./commands/dataset-withdraw.ts')).datasetWithdraw],
  ['coordinator init', async () => (await import('./commands/coordinator-init.ts')).coordinatorInit],
  ['coordinator serve', async () => (await import('./commands/coordinator-serve.ts')).coordinatorServe],
  ['coordinator health', async () => (await import('./commands/coordinator-health.ts')).coordinatorHealth],
  ['coordinator backup', async () => (await import('./commands/coordinator-backup.ts')).coordinatorBackup],
  ['coordinator restore', async () => (await import('./commands/coordinator-restore.ts')).coordinatorRestore],
  ['coordinator gc', async () => (await import('./commands/coordinator-gc.ts')).coordinatorGc],
  ['worker', async () => (await import('./commands/worker.ts')).worker],
  ['invite create', async () => (await import('./commands/invite-create.ts')).inviteCreate],
  ['nodes ls', async () => (await import('./commands/nodes-ls.ts')).nodesLs],
  ['nodes suspend', async () => (await import('./commands/nodes-status.ts')).nodesSuspend],
  ['nodes reinstate', async () => (await import('./commands/nodes-status.ts')).nodesReinstate],
  ['nodes eject', async () => (await import('./commands/nodes-status.ts')).nodesEject],
  ['jobs ls', async () => (await import('./commands/jobs-ls.ts')).jobsLs],
  ['jobs retry', async () => (await import('./commands/jobs-retry.ts')).jobsRetry],
  ['run create', async () => (await import('./commands/run-create.ts')).runCreate],
  ['run ls', async () => (await import('./commands/run-ls.ts')).runLs],
  ['round start', async () => (await import('./commands/round-start.ts')).roundStart],
  ['round ls', async () => (await import('./commands/round-ls.ts')).roundLs],
  ['round override', async () => (await import('./commands/round-override.ts')).roundOverride],
  ['operator key', async () => (await import('./commands/operator-key.ts')).operatorKey],
  ['operator set', async () => (await import('./commands/operator-set.ts')).operatorSet],
  ['operator ls', async () => (await import('./commands/operator-ls.ts')).operatorLs],
  ['round inspect', async () => (await import('./commands/round-inspect.ts')).roundInspect],
  ['models ls', async () => (await import('./commands/models-ls.ts')).modelsLs],
  ['models show', async () => (await import('./commands/models-show.ts')).modelsShow],
  ['models merge', async () => (await import('./commands/models-merge.ts')).modelsMerge],
  ['pull', async () => (await import('./commands/pull.ts')).pull],
  ['verify', async () => (await import('./commands/verify.ts')).verify],
  ['replay', async () => (await import('./commands/replay.ts')).replay],
  ['doctor node', async () => (await import('./commands/doctor-node.ts')).doctorNode],
  ['doctor coordinator', async () => (await import('./commands/doctor-coordinator.ts')).doctorCoordinator],
  ['doctor download', async () => (await import('./commands/doctor-download.ts')).doctorDownload],
  ['log checkpoint', async () => (await import('./commands/log-checkpoint.ts')).logCheckpoint],
  ['log prove', async () => (await import('./commands/log-prove.ts')).logProve],
  ['log export', async () => (await import('./commands/log-export.ts')).logExport],
  ['log verify', async () => (await import('./commands/log-verify.ts')).logVerify],
  ['contribution revoke', async () => (await import('./commands/contribution-revoke.ts')).contributionRevoke],
  ['revocation ls', async () => (await import('./commands/revocation-ls.ts')).revocationLs],
  ['contributions', async () => (await import('./commands/contributions.ts')).contributions],
])

/** Paths of the commands that `words` may mean: the one they name, else those of the group, else all. */
export function commandPaths(words: readonly string[]): string[] {
  const paths = [...COMMANDS.keys()]
  const [first = '', second = ''] = words
  const named = paths.filter((path) => path === first || path === `${first} ${second}`)
  const group = paths.filter((path) => path.startsWith(`${first} `))
  return [named, group, paths].find((found) => found.length > 0) ?? []
}
