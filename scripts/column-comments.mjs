#!/usr/bin/env node
// Prints COMMENT ON statements for every table and column from the `///` text of prisma/schema.prisma.
// Append the statements for what a migration adds or changes to its migration.sql; a test compares them.
import { readFileSync } from 'node:fs'

const schema = readFileSync(new URL('../prisma/schema.prisma', import.meta.url), 'utf8')
const quote = (text) => `'${text.replaceAll("'", "''")}'`

for (const [, doc, body] of schema.matchAll(/((?:^\/\/\/.*\n)+)^model \w+ \{\n([\s\S]*?)^\}/gm)) {
  const table = /@@map\("(\w+)"\)/.exec(body)[1]
  console.log(`COMMENT ON TABLE "${table}" IS ${quote(proseOf(doc))};`)
  for (const [, comment, name, rest] of body.matchAll(/((?:^ +\/\/\/.*\n)+)^ +(\w+) +(.*)$/gm)) {
    const column = / @map\("(\w+)"\)/.exec(rest)?.[1] ?? name
    console.log(`COMMENT ON COLUMN "${table}"."${column}" IS ${quote(proseOf(comment))};`)
  }
}

function proseOf(comment) {
  return comment
    .trim()
    .split('\n')
    .map((line) => line.trim().replace(/^\/\/\/ ?/, ''))
    .join(' ')
}
