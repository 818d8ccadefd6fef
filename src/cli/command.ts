import { type Command, Option } from 'commander'
import type { z } from 'zod'
import type { Clock } from '../core/clock.ts'
import { TapestryError } from '../core/error.ts'
import { settingsPath } from './directories.ts'
import { Output, type Result } from './output.ts'
import { readSettings } from './settings.ts'

/** What a command is given beside its input. */
export type Io = {
  readonly output: Output
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  /**
   * Aborted on SIGINT, SIGTERM, or when the process that started this one has gone. A command that
   * never asks for it is simply ended by them.
   */
  stopSignal(): AbortSignal
}

/** Everything but the output, which depends on the command's own flags. */
export type Surroundings = Omit<Io, 'output'> & {
  readonly stdout: ConstructorParameters<typeof Output>[0]['stdout']
  readonly stderr: ConstructorParameters<typeof Output>[0]['stderr']
}

export type CommandSpec<Input extends z.ZodType> = {
  /** Words from the root, such as `round inspect`. */
  readonly path: string
  readonly summary: string
  /** Positional arguments in commander's notation, such as `<run>`; they reach `input` by their names. */
  readonly arguments?: readonly { readonly name: string; readonly description: string }[]
  readonly options: readonly Option[]
  /** Parses options (camelCase) and arguments together; nothing else is trusted. */
  readonly input: Input
  /** Shown after the options in --help. */
  readonly notes?: string
  run(input: z.output<Input>, io: Io): Promise<Result | undefined>
}

/** A command that can be attached to its parent. */
export type Definition = { readonly path: string; attach(parent: Command, surroundings: Surroundings): void }

/** An option that may also come from TAPESTRY_<NAME> or the settings file: flag > environment > file > default. */
export function setting(flags: string, description: string): Option {
  const option = new Option(flags, description)
  return option.env(`TAPESTRY_${option.name().replace(/^no-/, '').replaceAll('-', '_').toUpperCase()}`)
}

/** An option that only the command line gives. */
export function flag(flags: string, description: string): Option {
  return new Option(flags, description)
}

/** Turns a spec into a command with --json and --quiet, whose input is parsed before it runs. */
export function defineCommand<Input extends z.ZodType>(spec: CommandSpec<Input>): Definition {
  return { path: spec.path, attach: (parent, surroundings) => attach(spec, parent, surroundings) }
}

function attach<Input extends z.ZodType>(spec: CommandSpec<Input>, parent: Command, surroundings: Surroundings): void {
  const command = parent.command(spec.path.split(' ').at(-1) ?? spec.path).description(spec.summary)
  for (const argument of spec.arguments ?? []) command.argument(argument.name, argument.description)
  for (const option of spec.options) command.addOption(option)
  command.option('--json', 'write one JSON value to stdout, and errors as JSON to stderr')
  command.option('-q, --quiet', 'write no progress')
  if (spec.notes !== undefined) command.addHelpText('after', `\n${spec.notes}`)
  command.action(async () => {
    applySettings(command, surroundings.env)
    const output = outputOf(command, surroundings)
    const input = parseInput(spec.input, command.opts(), namedArguments(command))
    const result = await spec.run(input, { ...surroundings, output })
    if (result !== undefined) output.result(result)
  })
}

function outputOf(command: Command, surroundings: Surroundings): Output {
  const { stdout, stderr, env } = surroundings
  const options = command.opts<{ json?: boolean; quiet?: boolean }>()
  return new Output({ json: options.json === true, quiet: options.quiet === true, stdout, stderr, env })
}

function applySettings(command: Command, env: Io['env']): void {
  const settings = readSettings(settingsPath(env))
  for (const option of command.options) {
    const source = command.getOptionValueSource(option.attributeName())
    const value = settings[option.name()]
    if (option.envVar === undefined || value === undefined || source === 'cli' || source === 'env') continue
    command.setOptionValueWithSource(
      option.attributeName(),
      typeof value === 'number' ? String(value) : value,
      'config',
    )
  }
}

function namedArguments(command: Command): Record<string, unknown> {
  return Object.fromEntries(
    command.registeredArguments.map((argument, index) => [argument.name(), command.processedArgs[index]]),
  )
}

function parseInput<Input extends z.ZodType>(
  schema: Input,
  options: Record<string, unknown>,
  named: Record<string, unknown>,
): z.output<Input> {
  const parsed = schema.safeParse({ ...options, ...named })
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map(({ path, message }) => {
    const name = String(path[0] ?? '')
    if (name === '') return message
    return `${name in named ? `<${name}>` : optionNameOf(name)}: ${message}`
  })
  throw new TapestryError('INVALID_ARGUMENT', problems.join('; '))
}

function optionNameOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}
