// Writes docs/DATA_MODEL.md from the comments in prisma/schema.prisma. With --check only compares.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url))

function* models(schema) {
  let comment = []
  let model
  for (const line of schema.split('\n').map((each) => each.trim())) {
    const start = /^model (\w+) \{/.exec(line)
    const field = /^(\w+)\s+([A-Za-z]+)(\[\]|\?)?/.exec(line)
    if (line.startsWith('///')) comment.push(line.slice(3).trim())
    else if (start) {
      model = { name: start[1], comment: comment.join(' '), fields: [] }
      comment = []
    } else if (line === '}') {
      if (model) yield model
      model = undefined
    } else if (model && field && comment.length > 0) {
      const column = /@map\("(\w+)"\)/.exec(line)?.[1] ?? field[1]
      const type = /@db\.(\w+)/.exec(line)?.[1] ?? field[2]
      model.fields.push({ column, type: type + (field[3] === '?' ? ', may be null' : ''), comment: comment.join(' ') })
      comment = []
    } else comment = []
    const table = /@@map\("(\w+)"\)/.exec(line)
    if (table && model) model.table = table[1]
  }
}

const cell = (text) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;')
const sections = [...models(readFileSync(path('prisma/schema.prisma'), 'utf8'))].map(({ table, comment, fields }) => {
  const rows = fields.map((field) => `| \`${field.column}\` | ${field.type} | ${cell(field.comment)} |`)
  return [`## ${table}`, '', cell(comment), '', '| column | type | meaning |', '| --- | --- | --- |', ...rows].join(
    '\n',
  )
})
const text = `# What the coordinator remembers

Written by \`node scripts/data-model.mjs\` from \`prisma/schema.prisma\`; the same sentences are the comments of the columns in
Postgres. Bytes live in the blob store, addressed by their SHA-256; everything else is here.

${sections.join('\n\n')}
`

if (!process.argv.includes('--check')) writeFileSync(path('docs/DATA_MODEL.md'), text)
else if (readFileSync(path('docs/DATA_MODEL.md'), 'utf8') !== text) {
  console.error('docs/DATA_MODEL.md is out of date: node scripts/data-model.mjs')
  process.exit(1)
}
