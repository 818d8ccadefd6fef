import { z } from 'zod'
import { readDatasets } from '../../participant/dataset-file.ts'
import { readKeyChain } from '../../participant/key-change.ts'
import { LogMemory } from '../../participant/log-memory.ts'
import { openNodeDirectory } from '../../participant/node-directory.ts'
import { readDeparture, readWishes } from '../../participant/participation.ts'
import { readRefusals } from '../../participant/policy-file.ts'
import { parseTlsPem, validityOf } from '../../participant/tls-credential.ts'
import { defineCommand, setting } from '../command.ts'
import { stateOf } from '../dataset-view.ts'
import { defaultNodeDirectory } from '../directories.ts'
import { formatTime, table } from '../terminal.ts'

const SHOWN_REFUSALS = 10

export const nodeStatus = defineCommand({
  path: 'node status',
  summary: 'show who this node is, what text it holds, whom it has joined and what it refused; needs no network',
  options: [setting('--dir <directory>', 'where the node keeps its keys and rounds')],
  input: z.object({ dir: z.string().optional() }),
  async run({ dir }, { env, clock }) {
    const root = dir ?? defaultNodeDirectory(env)
    const directory = await openNodeDirectory(root)
    const { name, sources, membership } = await directory.read()
    const datasets = await readDatasets(directory)
    const refusals = await readRefusals(directory, SHOWN_REFUSALS)
    const credential = await directory.readKey('tls.pem')
    const until = credential === undefined ? null : validityOf(parseTlsPem(credential).certificate).to
    const certificate = until === null ? null : { untilMs: until, valid: until > clock.now() }
    const log = await new LogMemory(directory).read()
    const { paused } = await readWishes(directory)
    const departure = await readDeparture(directory)
    const keyChanges = (await readKeyChain(directory)).length
    const rows = [
      ['name', name],
      ['directory', root],
      ['node', membership?.node ?? '(has not joined)'],
      ['member', membership?.member ?? '-'],
      ['federation', membership?.federation ?? '-'],
      ['coordinator', membership?.address ?? '-'],
      [
        'certificate',
        certificate === null ? '-' : `${certificate.valid ? 'until' : 'ended'} ${formatTime(certificate.untilMs)}`,
      ],
      ['keys', keyChanges === 0 ? 'those it was born with' : `changed ${keyChanges} times`],
      ...(paused ? [['paused', 'takes no part until "tapestry node resume"']] : []),
      ...(departure ? [['left', departure.told ? 'the coordinator knows' : 'the coordinator does not know yet']] : []),
      ['log', log === undefined ? '-' : `${log.size} entries when last seen`],
      ...sources.map(({ language, community, path, record }) => [
        'text',
        `${language}${community && ` (${community})`}${record === undefined ? ', without a record' : `, ${record}`}: ${path}`,
      ]),
      ...datasets.map((dataset) => ['dataset', `${dataset.terms.id}: ${stateOf(dataset)}`]),
      ...refusals.map(({ at, run, round, rule, detail }) => ['refused', `${at} ${run}/${round}: ${rule}: ${detail}`]),
    ]
    return {
      json: {
        name,
        directory: root,
        membership: membership ?? null,
        certificate,
        keyChanges,
        paused,
        left: departure === undefined ? null : { told: departure.told },
        log: log === undefined ? null : { size: log.size },
        sources: sources.map((source) => ({ ...source, record: source.record ?? null })),
        datasets: datasets.map((dataset) => ({ id: dataset.terms.id, state: stateOf(dataset) })),
        refusals,
      },
      text: table([{ title: '' }, { title: '' }], rows).trimStart(),
    }
  },
})
