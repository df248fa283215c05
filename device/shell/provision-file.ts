// The file from which a terminal is set up at its first start, written on a PC into the boot
// partition of a card (docs/pi.md):
//
//   ticket = "nakodo1…"         # what `nakodo ticket` printed
//   name = "pi-{serial}"        # where the ticket fixes none; also {hostname}
//   [[allow]]                   # and everything else that an allow-list file may hold
//   name = "TERM1"
//
// Strict as the list is: what is not understood is told with its line, and nothing is begun.

import { TomlError, parse } from 'smol-toml';
import { UsageError, errorMessage } from '../../protocol/errors.ts';
import { parseTicket } from '../../protocol/identity/ticket.ts';
import { type Name, isName } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { formatListFile, parseListTables } from '../list-file.ts';
import { TICKET_FAULTS } from './enrol.ts';

/** What a machine says of itself, to be used in names. */
export interface MachineFacts {
  /** Without its domain. */
  readonly hostname: string;
  /** The board's serial number, or another that stays with this machine. */
  readonly serial: string;
}

/** What the file asks for. */
export interface Provisioning {
  readonly ticket: string;
  /** Undefined: the ticket fixes the name. */
  readonly name: Name | undefined;
  /** The text of an allow-list file; undefined: nothing was said of it. */
  readonly list: string | undefined;
}

/** Stands in the place of a ticket that was used, as long as the ticket was. */
const REMOVED = 'removed-after-first-boot';
const PLACEHOLDER = /\{([^{}]*)\}/g;

/** What a ticket is overwritten with; `length`: of the ticket. */
export const removedTicket = (length: number): string =>
  REMOVED.padEnd(length, '-').slice(0, length);

/**
 * Reads the text of the file; undefined if its ticket was removed after it was used.
 * @throws UsageError `provision-file` that says in which line what is wrong.
 */
export function parseProvisioning(text: string, facts: MachineFacts): Provisioning | undefined {
  if (text.length > LIMITS.listFileBytesMax) {
    throw wrong(`it is longer than ${LIMITS.listFileBytesMax} bytes`);
  }
  const { ticket, name, ...list } = tables(text);
  if (typeof ticket !== 'string') {
    throw wrong(
      ticket === undefined
        ? 'key ticket is missing: ticket = "nakodo1…", before the first [[allow]]'
        : `${lineOf('ticket', text)}ticket: wanted it in quotes: "nakodo1…"`,
    );
  }
  if (ticket.startsWith(REMOVED)) return undefined;
  const inside = parseTicket(ticket);
  if (typeof inside === 'string') {
    throw wrong(`${lineOf('ticket', text)}ticket: ${TICKET_FAULTS[inside].join('; ')}`);
  }
  if (name !== undefined && typeof name !== 'string') {
    throw wrong(`${lineOf('name', text)}name: wanted it in quotes: "pi-{serial}"`);
  }
  if (name === undefined && inside.name === undefined) {
    throw wrong('key name is missing: the ticket fixes none; name = "pi-{serial}" would do');
  }
  const said = Object.keys(list).length > 0;
  return {
    ticket: ticket.replace(/\s/g, ''),
    name: name === undefined ? undefined : ownName(name, facts, text),
    list: said ? listText(list, text) : undefined,
  };
}

function tables(text: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    const line = error instanceof TomlError ? `line ${error.line}: ` : '';
    throw wrong(`${line}${errorMessage(error).split('\n')[0]}`);
  }
}

function listText(list: Record<string, unknown>, text: string): string {
  const parsed = parseListTables(list, text);
  if ('problem' in parsed) throw wrong(parsed.problem);
  return formatListFile(parsed.list);
}

/** The name with what this machine says of itself in the place of the braces. */
function ownName(wanted: string, facts: MachineFacts, text: string): Name {
  const place = `${lineOf('name', text)}name: `;
  const name = wanted.replace(PLACEHOLDER, (braces, word: string) => {
    if (word === 'hostname' || word === 'serial') return facts[word];
    throw wrong(`${place}wanted {hostname} or {serial}, got '${printable(braces)}'`);
  });
  if (isName(name)) return name;
  const rule = '1 to 64 letters, digits and . _ @ + -, a letter or digit first';
  throw wrong(`${place}got '${printable(name)}', wanted ${rule}`);
}

/** `line 3: ` for a key before the first table, or nothing where it is not found. */
function lineOf(key: string, text: string): string {
  const at = text.split('\n').findIndex((line) => new RegExp(`^\\s*"?${key}"?\\s*=`).test(line));
  return at < 0 ? '' : `line ${at + 1}: `;
}

const printable = (text: string): string => text.replace(/\p{C}/gu, '?').slice(0, 80);

const wrong = (problem: string): UsageError => new UsageError('provision-file', problem);
