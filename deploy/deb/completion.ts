// Completion for bash, made of the commands themselves: their names, their options, and files where
// an argument or an option takes a path.

import type { Command, Option } from 'commander';

/** What an option's value looks like in its flags when it is a path. */
const FOLDER_VALUE = /<dir>/;
const FILE_VALUE = /<(file|path)>/;
const PATH_ARGUMENT = /file|path|dest/i;

/** The script, for /usr/share/bash-completion/completions/nakodo. */
export function bashCompletion(program: Command): string {
  const names = program.commands.map((command) => command.name());
  const first = [...names, '--help', '--version'].join(' ');
  return [
    '# Completion of nakodo for bash: made of its commands, not to be edited.',
    '_nakodo() {',
    '  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}',
    '  local command=${COMP_WORDS[1]} options= paths=',
    '  COMPREPLY=()',
    '  if [ "$COMP_CWORD" -eq 1 ]; then',
    `    mapfile -t COMPREPLY < <(compgen -W '${first}' -- "$word")`,
    '    return',
    '  fi',
    '  case $command in',
    ...program.commands.flatMap(commandCase),
    '  *) return ;;',
    '  esac',
    '  case $before in',
    `  ${valued(program, FOLDER_VALUE)})`,
    '    mapfile -t COMPREPLY < <(compgen -d -- "$word")',
    '    return ;;',
    `  ${valued(program, FILE_VALUE)})`,
    '    mapfile -t COMPREPLY < <(compgen -f -- "$word")',
    '    return ;;',
    '  esac',
    '  if [[ $word == -* ]]; then',
    '    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")',
    '  elif [ -n "$paths" ]; then',
    '    mapfile -t COMPREPLY < <(compgen -f -- "$word")',
    '  fi',
    '}',
    'complete -o filenames -F _nakodo nakodo',
    '',
  ].join('\n');
}

function commandCase(command: Command): readonly string[] {
  const options = command.options.flatMap(longNames);
  const takesPaths = command.registeredArguments.some((one) => PATH_ARGUMENT.test(one.name()));
  return [
    `  ${command.name()})`,
    `    options='${[...options, '--help'].join(' ')}'${takesPaths ? ' paths=yes' : ''} ;;`,
  ];
}

const longNames = (option: Option): readonly string[] =>
  option.hidden || option.long === undefined || option.long === null ? [] : [option.long];

/** A pattern for the options of any command whose value looks so; of none, one that never fits. */
function valued(program: Command, value: RegExp): string {
  const options = program.commands
    .flatMap((command) => command.options)
    .filter((option) => value.test(option.flags));
  const names = [...new Set(options.flatMap(longNames))];
  return names.length === 0 ? '--' : names.join(' | ');
}
