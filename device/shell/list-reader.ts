// Reads the owner's allow-list at that very moment [¶0018, S4003]: no copy is kept, so that an edit
// counts from the next call on.

import type { AllowList } from '../../protocol/consent/allow-list.ts';
import { errorMessage } from '../../protocol/errors.ts';
import type { Clock } from '../../protocol/io/clock.ts';
import { readFileNow } from '../../protocol/io/files.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { LocalMoment } from '../../protocol/units.ts';
import { parseListFile } from '../list-file.ts';

/** A list, or why there is none, and the callee's local time when it was read. */
interface ListReading {
  readonly list: AllowList | undefined;
  /** For its owner: where and what. */
  readonly problem: string | undefined;
  readonly at: LocalMoment;
}

/**
 * Reads an allow-list file; one that is not there allows nobody, which is no problem.
 * Reads at most LIMITS.listFileBytesMax bytes; never throws.
 */
export function readAllowList(path: string, clock: Clock): ListReading {
  const wallMs = clock.wall();
  const at: LocalMoment = { wallMs, offsetMinutes: -new Date(wallMs).getTimezoneOffset() };
  try {
    const bytes = readFileNow(path, LIMITS.listFileBytesMax);
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes ?? new Uint8Array());
    const parsed = parseListFile(text);
    if ('list' in parsed) return { list: parsed.list, problem: undefined, at };
    return { list: undefined, problem: `${path}: ${parsed.problem}`, at };
  } catch (error) {
    const problem = error instanceof TypeError ? `${path} is not UTF-8 text` : errorMessage(error);
    return { list: undefined, problem, at };
  }
}
