import { resolve } from 'node:path'
import { z } from 'zod'
import { STAGES, USES } from '../../core/demands.ts'
import { addDataset, readTermsBeside } from '../../participant/datasets.ts'
import { openNodeDirectory } from '../../participant/node-directory.ts'
import { CONSENT_KINDS } from '../../policy/dataset-record.ts'
import { defineCommand, flag, setting } from '../command.ts'
import { declaredSources, termsFrom } from '../dataset-input.ts'
import { defaultNodeDirectory } from '../directories.ts'
import { day, jurisdiction, languageTags, licenceClasses, recordId } from '../input.ts'

export const datasetAdd = defineCommand({
  path: 'dataset add',
  summary: 'declare whose data a text is, and what it may be used for',
  arguments: [{ name: '[id]', description: 'your name for the dataset: a-z, 0-9, ".", "_", "-"' }],
  options: [
    setting('--dir <directory>', 'where the node keeps its keys and rounds'),
    flag('--file <file>', 'a record that you wrote as YAML, in place of the options below'),
    flag('--data <directory>', 'the text, if the node does not have it yet; its tapestry.yaml is read if it has one'),
    flag('--steward <name>', 'the institution that answers for the data'),
    flag('--title <title>', 'what the dataset is called (the id)'),
    flag('--language <tags>', 'languages, comma-separated (those of the text)'),
    flag('--licence <expression>', 'SPDX expression, such as CC-BY-4.0 or "MIT OR LicenseRef-ours"'),
    flag('--licence-class <reference=class...>', 'what a LicenseRef asks for, such as LicenseRef-ours=restricted'),
    flag('--consent <kind>', 'what the data are used on the strength of').choices(CONSENT_KINDS),
    flag('--evidence <file>', 'the paper that says so, or its sha256:<hex>; it stays here'),
    flag('--granted <day>', 'first day of consent, YYYY-MM-DD'),
    flag('--expires <day>', 'last day of consent (until withdrawn)'),
    flag('--use <use...>', `what is allowed: ${USES.join(', ')}`),
    flag('--stage <stage...>', `how far models may reach: ${STAGES.join(', ')} (any)`),
    flag('--train-in <place...>', 'where training may happen, as ISO 3166 or EU (anywhere)'),
    flag('--coordinate-in <place...>', 'where it may be coordinated (anywhere)'),
    flag('--authority <name>', 'who decides for the community that the data belong to'),
    flag('--contact <office>', 'how to reach that authority'),
    flag('--label <label...>', 'labels, such as "TK Attribution" of localcontexts.org'),
    flag('--public', 'let anyone read the record (members of the federation only)'),
  ],
  input: z.object({
    id: recordId.optional(),
    dir: z.string().optional(),
    file: z.string().optional(),
    data: z.string().optional(),
    steward: z.string().optional(),
    title: z.string().optional(),
    language: languageTags.optional(),
    licence: z.string().optional(),
    licenceClass: licenceClasses.optional(),
    consent: z.enum(CONSENT_KINDS).optional(),
    evidence: z.string().optional(),
    granted: day.optional(),
    expires: day.optional(),
    use: z.array(z.enum(USES)).optional(),
    stage: z.array(z.enum(STAGES)).optional(),
    trainIn: z.array(jurisdiction).optional(),
    coordinateIn: z.array(jurisdiction).optional(),
    authority: z.string().optional(),
    contact: z.string().optional(),
    label: z.array(z.string()).optional(),
    public: z.boolean().default(false),
  }),
  async run({ dir, data, ...input }, { env }) {
    const place = dir ?? defaultNodeDirectory(env)
    const directory = await openNodeDirectory(place)
    const { sources } = await directory.read()
    const beside = data === undefined || input.id !== undefined ? undefined : await readTermsBeside(data)
    const candidates = await declaredSources(data, sources)
    const terms = beside ?? (await termsFrom(input, candidates))
    const declared =
      data === undefined ? candidates.filter(({ language }) => terms.languages.includes(language)) : candidates
    const path = await addDataset(directory, terms, declared)
    const texts = declared.map((source) => resolve(source.path))
    return {
      json: { id: terms.id, file: path, texts },
      text: `dataset ${terms.id} declares ${texts.join(', ')}\nread and correct it: ${path}\nsee what would happen: tapestry node run --dry-run --dir ${place}`,
    }
  },
})
