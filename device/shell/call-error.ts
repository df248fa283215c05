// What a person hears when a call came to nothing. One sentence covers refused, unknown, asleep and
// away: refusals tell nothing (design §4).

import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import type { CallFailure, RefusalReason } from '../terminal-types.ts';

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
  'peer-changed': [
    'was not called: it shows another key than the one that is known under its name',
    'ask its owner whether it was set up anew; if so: nakodo trust NAME',
    EXIT.failed,
  ],
  busy: ['was not asked: too many calls are under way here', 'try again later', EXIT.failed],
  cancelled: ['was not called: the call was given up', 'call again', EXIT.failed],
};

/** Where the operator lets reasons out (`--explain`). */
const REASONS: Readonly<Record<RefusalReason, readonly [string, string]>> = {
  denied: ['does not allow this call', 'ask its owner to allow you'],
  unknown: ['is not known to the server', 'check the name'],
  away: ['cannot be reached now', 'call again later, or wait longer with --wait'],
  limited: ['was not asked: there were too many calls of late', 'call again in a minute'],
  server: ['could not be introduced by the server', 'try again, and tell the operator'],
};

/** The error for a call to `to` that failed; `reason`: where the server said more. */
export function callError(why: CallFailure, to: string, reason?: RefusalReason): NakodoError {
  const [message, next, exit] = WORDS[why];
  const [said, todo] = reason === undefined ? [message, next] : REASONS[reason];
  return new NakodoError(why, `${to} ${said}`, todo.replace('NAME', to), exit);
}
