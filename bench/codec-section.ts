import { type CodecFigure, meanLoss } from './codecs.ts'
import { shortNumber } from './plot.ts'
import { table } from './table.ts'

/** Codecs beside the first, which sends values as they are. @param machine where it was measured, as a line of text */
export function codecSection(machine: string, figures: readonly CodecFigure[]): string {
  const [plain] = figures
  if (plain === undefined) return ''
  return [
    '## Update codecs\n',
    machine,
    `The demonstration's federation, ${plain.nodes} nodes and ${plain.rounds} rounds from noise, once for each codec, on the same text and plan.
Losses are those of the model that stands at the end, in nats per token on held-out text; lower is better. They do not depend on
what else the machine did, but the nodes are new each time and with them the order of their batches: small
differences may be noise. What top-k leaves out is sent in later rounds, so few rounds show it at its worst.\n`,
    codecTable(plain, figures),
  ].join('\n')
}

function codecTable(plain: CodecFigure, figures: readonly CodecFigure[]): string {
  const languages = Object.keys(plain.losses)
  const head = ['codec', 'an update, kB', '/ f32', 'mean loss', 'against f32', ...languages]
  const rows = figures.map((figure) => [
    `\`${figure.codec}\``,
    shortNumber(figure.updateBytes / 1e3),
    `${((100 * figure.updateBytes) / plain.updateBytes).toFixed(1)} %`,
    meanLoss(figure).toFixed(4),
    signedPercent(meanLoss(figure) / meanLoss(plain) - 1),
    ...languages.map((language) => figure.losses[language]?.toFixed(3) ?? '-'),
  ])
  return table(head, rows)
}

function signedPercent(share: number): string {
  return `${share > 0 ? '+' : ''}${(100 * share).toFixed(2)} %`
}
