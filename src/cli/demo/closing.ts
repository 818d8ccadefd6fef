import { dirname, relative } from 'node:path'
import { BIN } from './child-process.ts'
import type { DemoOptions } from './demo.ts'
import type { DemoLayout } from './demo-layout.ts'
import type { DemoReport } from './report.ts'
import { stoppedText } from './sovereignty.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** The last lines: where the model is, and commands that work as they stand. */
export function closingText(
  report: DemoReport,
  federation: string,
  options: DemoOptions,
  layout: DemoLayout,
  env: Environment,
): string {
  const tapestry = programName(env)
  const { checkpoint, wallSeconds, peakRssMb, sovereignty } = report
  const measured = `${wallSeconds} s; memory at most ${peakRssMb.coordinator} MB (coordinator), ${peakRssMb.node} MB (largest node)`
  return [
    ...(sovereignty === undefined ? [] : [stoppedText(sovereignty)]),
    `Checkpoint ${checkpoint.version} of channel ${checkpoint.channel}, ${checkpoint.digest}, is verified.`,
    `  ${measured}`,
    `The model is in ${checkpoint.path}`,
    '',
    'Try next:',
    `  ${quoted([tapestry, 'verify', checkpoint.path, '--trust', federation])}`,
    ...(options.keep === undefined ? keepHint(tapestry) : keptCommands(tapestry, layout)),
  ].join('\n')
}

function keepHint(tapestry: string): string[] {
  return [
    `  ${tapestry} demo --keep ./demo          # keeps the coordinator and the nodes to look into`,
    `  ${tapestry} demo --data ./my-texts      # your own text: a folder of <BCP-47>.txt`,
  ]
}

function keptCommands(tapestry: string, { coordinator }: DemoLayout): string[] {
  return [
    `  ${quoted([tapestry, 'coordinator', 'serve', '--dir', coordinator])} &`,
    `  ${quoted([tapestry, 'contributions', '--by', 'language', '--dir', coordinator])}`,
    `  ${quoted([tapestry, 'round', 'inspect', 'demo/1', '--dir', coordinator])}`,
  ]
}

/** The name alone when a shell would find it, else the way to it from here. */
function programName(env: Environment): string {
  const invoked = dirname(process.argv[1] ?? BIN)
  return (env['PATH'] ?? '').split(':').includes(invoked) ? 'tapestry' : relative(process.cwd(), BIN)
}

/** A command line that a shell reads as it was meant. */
function quoted(words: readonly string[]): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ')
}
