/** A header is an object of objects of arrays; anything deeper is not one, and would only cost memory to parse. */
const MAX_DEPTH = 3

/** The names met so far in an open object; an open array has none. */
type Names = Set<string> | 'array'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a

/**
 * Looks through the text of a safetensors header before JSON.parse sees it, for what JSON.parse
 * would hide: repeated names (it keeps the last), and numbers written as floats, negative or with
 * an exponent (it returns 1 for 1.0). Everything else is left for JSON.parse to refuse.
 * @returns what is wrong, or undefined.
 */
export function findHeaderFault(text: string): string | undefined {
  const open: Names[] = []
  let at = 0
  while (at < text.length) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) {
      const end = stringEnd(text, at)
      if (end === undefined) return 'a string without an end'
      const fault = isKey(text, end) ? nameFault(text.slice(at, end), open.at(-1)) : undefined
      if (fault !== undefined) return fault
      at = end
      continue
    }
    const fault = structureFault(text.charAt(at), open)
    if (fault !== undefined) return fault
    at += 1
  }
  return undefined
}

function structureFault(character: string, open: Names[]): string | undefined {
  if (character === '{' || character === '[') {
    open.push(character === '{' ? new Set() : 'array')
    return open.length > MAX_DEPTH ? 'nested too deeply' : undefined
  }
  if (character === '}' || character === ']') {
    return open.pop() === undefined ? 'unbalanced brackets' : undefined
  }
  return ' \n\r\t,:0123456789'.includes(character) ? undefined : `unexpected ${JSON.stringify(character)}`
}

/** The index after the closing quote of the string that begins at `start`. */
function stringEnd(text: string, start: number): number | undefined {
  for (let at = start + 1; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === BACKSLASH) at += 1
    else if (code === QUOTE) return at + 1
  }
  return undefined
}

function isKey(text: string, end: number): boolean {
  let at = end
  while (' \n\r\t'.includes(text.charAt(at)) && at < text.length) at += 1
  return text.charCodeAt(at) === COLON
}

function nameFault(literal: string, seen: Names | undefined): string | undefined {
  const name = decodeLiteral(literal)
  if (name === undefined || seen === undefined || seen === 'array') return 'not JSON'
  if (seen.has(name)) return `the name ${quoted(name)} appears twice`
  seen.add(name)
  return undefined
}

/** Names are compared after their escapes are resolved: "\u0061" and "a" are the same name. */
function decodeLiteral(literal: string): string | undefined {
  try {
    const value: unknown = JSON.parse(literal)
    return typeof value === 'string' ? value : undefined
  } catch {
    return undefined
  }
}

/** A name from a stranger's file, safe and short enough for a message. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > 120 ? `${name.slice(0, 120)}...` : name)
}
