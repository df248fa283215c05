// What a person hears when a call came to nothing. One sentence covers refused, unknown, asleep and
// away: refusals tell nothing (design §4).

import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import type { CallFailure } from '../terminal-types.ts';

const WORDS: Readonly<Record<CallFailure, readonly [string, string, ExitCode]>> = {
  refused: [
    'does not take this call (refused, unknown, asleep or away: the answer is one)',
    'ask its owner to allow you, or wait longer with --wait',
    EXIT.refused,
  ],
  'no-link': [
    'was not asked: our server cannot be reached',
    'check that the server runs, see `nakodo status`',
    EXIT.unreachable,
  ],
  'no-answer': [
    'was perhaps not asked: the session manager does not answer',
    'check that it runs, then call again',
    EXIT.unreachable,
  ],
  socket: [
    'was not asked: no UDP socket could be opened here',
    'check the address that the agent binds to',
    EXIT.failed,
  ],
  'bad-notice': [
    'was not called: the server introduced us with a notice that is not in order',
    'tell the operator',
    EXIT.failed,
  ],
  busy: ['was not asked: too many calls are under way here', 'try again later', EXIT.failed],
  cancelled: ['was not called: the call was given up', 'call again', EXIT.failed],
};

/** The error for a call to `to` that failed. */
export function callError(why: CallFailure, to: string): NakodoError {
  const [message, next, exit] = WORDS[why];
  return new NakodoError(why, `${to} ${message}`, next, exit);
}
