import { Command } from 'commander'
import type { Definition, Surroundings } from './command.ts'
import { COMMANDS, commandPaths } from './commands.ts'
import { version } from './version.ts'

/** What the words before a command's last one stand for. */
const GROUPS: Readonly<Record<string, string>> = {
  coordinator: 'run a coordinator',
  invite: 'invite members',
  nodes: 'the nodes of the federation',
  jobs: "the coordinator's own work",
  run: 'training programmes',
  round: 'passes of the loop',
  operator: 'who may override the release gate, together',
  node: 'take part with your own data',
  dataset: 'whose data they are, and what they may be used for',
  contribution: 'what nodes handed in',
  revocation: 'what was taken back',
  models: 'released checkpoints',
  log: 'the public log: what the federation has recorded, for anyone to check',
  doctor: 'look for what is wrong, and say what to do',
}

/** The part of the command line that `words`, what follows the program's name, may mean. */
export async function createProgram(words: readonly string[], surroundings: Surroundings): Promise<Command> {
  const program = new Command('tapestry')
    .description('Train one open foundation model together. The data never move.')
    .version(version(), '-V, --version')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => surroundings.stdout.write(text),
      writeErr: (text) => surroundings.stderr.write(text),
      // Errors are written in one place, as text or as JSON.
      outputError: () => undefined,
    })
  const definitions = await Promise.all(commandPaths(words).map((path) => COMMANDS.get(path)?.()))
  for (const definition of definitions) definition?.attach(parentOf(program, definition), surroundings)
  silence(program)
  return program
}

function parentOf(program: Command, definition: Definition): Command {
  const [group, leaf] = definition.path.split(' ')
  if (group === undefined || leaf === undefined) return program
  const existing = program.commands.find((command) => command.name() === group)
  return existing ?? program.command(group).description(GROUPS[group] ?? '')
}

/** Settings that commander does not hand down to commands that exist already. */
function silence(command: Command): void {
  for (const child of command.commands) {
    child.copyInheritedSettings(command)
    silence(child)
  }
}
