// The log as text, line by line: how it leaves the manager, lies in an exported file or an archive,
// and is verified (docs/log.md). Every byte of it counts: what is not written exactly like this is
// a fault.
//
//   nakodo-log 1
//   head <base64url>     the signed span (session-manager/log-head.ts)
//   key <base64url>      public keys of a terminal that enrolled before the span; any number
//   entry <base64url>    the entries in their order

import { fromBase64, toBase64 } from '../../protocol/io/base64.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { SignedSpan } from '../log-head.ts';
import type { LogVerifier } from '../log-verify.ts';

/** First line of a log; the number is the version of the format. */
export const LOG_FILE_TITLE = 'nakodo-log 1\n';
/** Characters of the longest line: an entry is no longer than a message, in text a third more. */
const LINE_CHARACTERS_MAX = 2 * LIMITS.sealedBytesMax;

/** One line of a log, with its line feed. */
export function logLine(kind: 'head' | 'key' | 'entry', bytes: Uint8Array): string {
  return `${kind} ${toBase64(bytes)}\n`;
}

/** Feeds a text, chunk by chunk, into a verifier: one reader for each file. */
export class LogReader {
  readonly #verifier: LogVerifier;
  readonly #use: SignedSpan['use'] | undefined;
  #unread = '';
  #lines = 0;

  /** `use`: the part has to be of this kind. */
  constructor(verifier: LogVerifier, use?: SignedSpan['use']) {
    this.#verifier = verifier;
    this.#use = use;
  }

  /** Takes the next bytes of the text, borrowed; false once something is wrong. */
  take(chunk: Uint8Array): boolean {
    // Latin 1 keeps every byte apart; all that is right is ASCII.
    const lines = (this.#unread + Buffer.from(chunk).toString('latin1')).split('\n');
    this.#unread = lines.pop() ?? '';
    if (!lines.every((line) => this.#onLine(line))) return false;
    const isEndless = this.#unread.length > LINE_CHARACTERS_MAX;
    return !isEndless || this.#verifier.reject('a line is too long');
  }

  /** The text is over; false if it is not whole. */
  end(): boolean {
    if (this.#lines < 2) return this.#verifier.reject('this is no log: it has no head');
    return this.#unread === '' || this.#verifier.reject('the last line is not whole');
  }

  #onLine(line: string): boolean {
    this.#lines += 1;
    if (this.#lines === 1) {
      const isLog = `${line}\n` === LOG_FILE_TITLE;
      return isLog || this.#verifier.reject('this is no log of a version that is known here');
    }
    const [kind, text = ''] = line.split(' ', 2);
    const bytes = line.length > LINE_CHARACTERS_MAX ? undefined : fromBase64(text);
    const isHead = this.#lines === 2;
    // The decoder passes over spare bits; there is exactly one way to write a line.
    if (
      bytes === undefined ||
      `${kind} ${toBase64(bytes)}` !== line ||
      isHead !== (kind === 'head')
    ) {
      return this.#verifier.reject(`line ${this.#lines} cannot be read`);
    }
    if (kind === 'head') return this.#verifier.begin(bytes, this.#use);
    if (kind === 'key') return this.#verifier.know(bytes);
    if (kind === 'entry') return this.#verifier.add(bytes);
    return this.#verifier.reject(`line ${this.#lines} cannot be read`);
  }
}
