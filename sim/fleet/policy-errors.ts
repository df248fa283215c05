// How a person hears what is wrong with a policy file: the file, the entry with the line that it
// begins at, what is wrong, and what to do.

import { EXIT, NakodoError } from '../../protocol/errors.ts';

const SHOWN_MAX = 60;

/** The error for a policy file that cannot be meant. */
export function policyError(file: string, what: string, next: string): NakodoError {
  return new NakodoError('policy', `${shownText(file)}: ${what}`, next, EXIT.usage);
}

/** Names an entry, with the line of its header as far as the plain `[[kind]]` form shows it. */
export function entryPlace(kind: string, at: number, text: string): string {
  const header = new RegExp(`^\\s*\\[\\[\\s*${kind}\\s*\\]\\]`);
  const lines = text.split('\n').flatMap((line, index) => (header.test(line) ? [index + 1] : []));
  const line = lines.length > at ? ` (line ${lines[at]})` : '';
  return `[[${kind}]] number ${at + 1}${line}`;
}

/** What somebody wrote, short and without control characters. */
export function shownText(text: string): string {
  const plain = text.replace(/\p{C}/gu, '?');
  return plain.length > SHOWN_MAX ? `${plain.slice(0, SHOWN_MAX)}…` : plain;
}
