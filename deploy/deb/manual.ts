// nakodo(1) from the commands themselves: what `--help` says is what the page says, so that neither
// goes stale without the other. Written in the man(7) macros.

import type { Command, Option } from 'commander';

/** What the page says of its issue. */
interface ManualOptions {
  readonly version: string;
  /** Day of the issue. */
  readonly date: Date;
}

const FILES: readonly (readonly [string, string])[] = [
  ['/var/lib/nakodo', "The packaged terminal's state: identity, enrolment, allow-list, inbox."],
  ['/etc/nakodo/agent.toml', 'What the agent does: folders, hooks, ports. Says itself what.'],
  ['/boot/firmware/nakodo.toml', 'Ticket, name and list for the first start, taken once.'],
  ['/usr/share/doc/nakodo/examples', 'What to add to the unit for hooks; cloud-init user-data.'],
];
const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['NAKODO_HOME', 'The home, where no \\-\\-home is given.'],
  ['NAKODO_DEBUG', 'With 1, errors show where in the program they were found.'],
];
/** Hexadecimal digits of a character, at the least (groff_char(7)). */
const CODE_DIGITS = 4;
const DAY_LENGTH = 'YYYY-MM-DD'.length;

/** The page's source. */
export function manualPage(program: Command, { version, date }: ManualOptions): string {
  const [tagline, ...rest] = program.description().split('\n');
  const words = [tagline, ...rest].join(' ');
  return [
    `.TH NAKODO 1 ${date.toISOString().slice(0, DAY_LENGTH)} "nakodo ${version}" "User Commands"`,
    '.SH NAME',
    'nakodo \\- introduces terminals by name; then they talk directly',
    '.SH SYNOPSIS',
    '.B nakodo',
    '.I command',
    '[\\fIoptions\\fR] [\\fIarguments\\fR]',
    '.SH DESCRIPTION',
    escaped(words),
    '.PP',
    'The service \\fBnakodo.service\\fR runs \\fBnakodo agent\\fR as user \\fBnakodo\\fR; the',
    'commands talk to it, and know its home by themselves: \\fI/var/lib/nakodo\\fR. They are for',
    'root and for members of group \\fBnakodo\\fR.',
    '.SH COMMANDS',
    ...program.commands.flatMap((command) => commandSection(command)),
    '.SH FILES',
    ...FILES.flatMap(([path, what]) => ['.TP', `.I ${path}`, what]),
    '.SH ENVIRONMENT',
    ...ENVIRONMENT.flatMap(([name, what]) => ['.TP', `.B ${name}`, what]),
    '.SH SEE ALSO',
    '.BR systemctl (1),',
    '.BR journalctl (1),',
    '.BR ssh_config (5)',
    '',
  ].join('\n');
}

/** What a command prints behind its options: examples and exit codes. */
export function afterWords(command: Command): string {
  let whole = '';
  command.configureOutput({ writeOut: (text) => (whole += text) });
  command.outputHelp();
  return whole.slice(command.helpInformation().length).trim();
}

function commandSection(command: Command): readonly string[] {
  const usage = command.usage();
  return [
    `.SS "${escaped(`nakodo ${command.name()} ${usage}`)}"`,
    ...paragraphs(command.description()),
    ...command.registeredArguments.flatMap((argument) => [
      '.TP',
      `\\fI${escaped(argument.name())}\\fR`,
      escaped(argument.description),
    ]),
    ...command.options.filter((option) => !option.hidden).flatMap(optionItem),
    ...paragraphs(afterWords(command)),
  ];
}

function optionItem(option: Option): readonly string[] {
  const preset =
    option.defaultValue === undefined || typeof option.defaultValue === 'boolean'
      ? ''
      : ` (default: ${option.defaultValueDescription ?? JSON.stringify(option.defaultValue)})`;
  return ['.TP', `\\fB${escaped(option.flags)}\\fR`, escaped(`${option.description}${preset}`)];
}

/** Text with its line breaks: what is set in columns stays in columns. */
function paragraphs(text: string): readonly string[] {
  return ['.PP', '.nf', ...text.split('\n').map(escaped), '.fi'];
}

/** Text as roff prints it: no escapes, no requests, hyphens that can be copied, ASCII. */
function escaped(text: string): string {
  const plain = text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replaceAll(/[^\x20-\x7e]/gu, (other) => `\\[u${codePoint(other)}]`);
  return /^[.']/.test(plain) ? `\\&${plain}` : plain;
}

const codePoint = (character: string): string =>
  (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(CODE_DIGITS, '0');
