// Reads the owner's allow-list at that very moment [¶0018, S4003]: the file is read at every
// question, so that an edit counts from the next call on. (Who is let in no more in the middle of a
// talk: list-watch.ts.)

import { sameBytes } from '../../protocol/bytes.ts';
import type { AllowList } from '../../protocol/consent/allow-list.ts';
import { errorMessage } from '../../protocol/errors.ts';
import type { Clock } from '../../protocol/io/clock.ts';
import { readFileNow } from '../../protocol/io/files.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { LocalMoment } from '../../protocol/units.ts';
import { parseListFile } from '../list-file.ts';

type Parsed = ReturnType<typeof parseListFile>;

/** A list, or why there is none, and the callee's local time when it was read. */
export interface ListReading {
  readonly list: AllowList | undefined;
  /** For its owner: where and what. */
  readonly problem: string | undefined;
  readonly at: LocalMoment;
}

/**
 * Makes a reader of one allow-list file, which reads it anew each time it is called; a file that is
 * not there allows nobody, which is no problem. Only the parsing of bytes that did not change is
 * spared. Reads at most LIMITS.listFileBytesMax bytes; never throws.
 */
export function allowListReader(path: string, clock: Clock): () => ListReading {
  let known: Uint8Array | undefined;
  let parsed: Parsed = { problem: 'it was never read' };
  return () => {
    const wallMs = clock.wall();
    const at: LocalMoment = { wallMs, offsetMinutes: -new Date(wallMs).getTimezoneOffset() };
    try {
      const bytes = readFileNow(path, LIMITS.listFileBytesMax) ?? new Uint8Array();
      if (known === undefined || !sameBytes(known, bytes)) {
        known = undefined;
        parsed = parseListFile(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
        known = bytes;
      }
      if ('list' in parsed) return { list: parsed.list, problem: undefined, at };
      return { list: undefined, problem: `${path}: ${parsed.problem}`, at };
    } catch (error) {
      const problem =
        error instanceof TypeError ? `${path} is not UTF-8 text` : errorMessage(error);
      return { list: undefined, problem, at };
    }
  };
}
