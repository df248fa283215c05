// The options of every command that calls a peer: how long it may take to say yes, and what is
// asked of it. One set of words and bounds, and one way from them to what the agent is asked.

import type { Command } from 'commander';
import { LIMITS } from '../../protocol/limits.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { terminalName } from '../../protocol/typed-names.ts';
import { formatDuration } from '../../protocol/units.ts';
import type { TalkWish } from '../talk.ts';
import { type CommonOptions, boundedDurationOption, someBytesOption } from './command.ts';

/** What `addCallOptions` adds. */
export interface CallOptions extends CommonOptions {
  /** Milliseconds. */
  readonly wait: number;
  /** At most this much, of both ends together. */
  readonly bytes?: number;
  /** Milliseconds, at least a second. */
  readonly for?: number;
  readonly extend: boolean;
}

/** Adds --wait, --bytes, --for and --no-extend, and returns the command. */
export function addCallOptions(command: Command): Command {
  return command
    .addOption(
      boundedDurationOption('--wait <time>', 'how long the callee has to say yes', {
        minMs: 0,
        maxMs: LIMITS.waitMsMax,
      }).default(LIMITS.waitMsDefault, formatDuration(LIMITS.waitMsDefault).replace(' ', '')),
    )
    .addOption(someBytesOption('--bytes <size>', 'ask for at most this much; the talk ends there'))
    .addOption(
      boundedDurationOption('--for <time>', 'ask for at most this long; the talk ends then', {
        minMs: MS_PER_SECOND,
        maxMs: LIMITS.grantSecondsMax * MS_PER_SECOND,
      }),
    )
    .option('--no-extend', 'do not ask for more when 70 % are used');
}

/**
 * What the agent is asked for [S1002]. `to` is as it was typed.
 * @throws NakodoError `bad-name` (exit 2).
 */
export function wishOf(to: string, service: string, options: CallOptions): TalkWish {
  return {
    to: terminalName(to),
    service,
    waitMs: options.wait,
    bytes: options.bytes,
    seconds: options.for === undefined ? undefined : Math.ceil(options.for / MS_PER_SECOND),
    extend: options.extend,
  };
}
