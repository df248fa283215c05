// What a person hears when a call, a talk or a stream came to nothing: a code, what happened, what
// to do, an exit code; docs/sessions.md has the table. One sentence covers refused, unknown, asleep
// and away: refusals tell nothing (design §4).

import { type EndReason, endSentence, isLimit } from '../../protocol/ends.ts';
import { EXIT, type ExitCode, NakodoError } from '../../protocol/errors.ts';
import type { CallFailure, RefusalReason } from '../terminal-types.ts';
import { type Meeting, noWayWords } from './way.ts';
import { STREAM_CODE } from './stream-opening.ts';

const WORDS: Readonly<Record<CallFailure, readonly [string, string, ExitCode]>> = {
  refused: [
    'does not take this call (refused, unknown, asleep or away: the answer is one)',
    'ask its owner for: nakodo allow YOU --service SERVICE — or wait longer with --wait',
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
  denied: ['does not allow this call', 'ask its owner for: nakodo allow YOU --service SERVICE'],
  unknown: ['is not known to the server', 'check the name'],
  away: ['cannot be reached now', 'call again later, or wait longer with --wait'],
  limited: ['was not asked: there were too many calls of late', 'call again in a minute'],
  server: ['could not be introduced by the server', 'try again, and tell the operator'],
};

/** The error for a call that failed; `reason`: where the server said more. */
export function callError(
  why: CallFailure,
  { to, service }: { readonly to: string; readonly service: string },
  reason?: RefusalReason,
): NakodoError {
  const [message, next, exit] = WORDS[why];
  const [said, todo] = reason === undefined ? [message, next] : REASONS[reason];
  const step = todo.replace('NAME', to).replace('SERVICE', service);
  return new NakodoError(why, `${to} ${said}`, step, exit);
}

/** What to do after an end that is not as wanted; a type keeps the table whole. */
const NEXT_STEPS: Readonly<Record<EndReason, string>> = {
  done: 'call again for more',
  time: 'call again, ask for more time (--for), or ask its owner for longer',
  quota: 'call again, ask for more bytes (--bytes), or ask its owner for more',
  operator: 'ask the operator',
  revoked: 'ask the operator',
  'peer-gone': 'check the other terminal, then call again',
  'path-lost': 'check that UDP passes between the two terminals',
  local: 'call again',
  restarted: 'call again',
  'protocol-error': 'bring both terminals to the same release, then call again',
  unreported: 'call again',
};

/**
 * The error for work that an end of the talk cut off; its code is the reason. `meeting`: what
 * became of the search for a way, to say why there is none.
 */
export function endError(reason: EndReason, meeting?: Meeting): NakodoError {
  const what = `the talk ended: ${endSentence(reason)}`;
  // Whose relay is gone hears nothing of the peer any more.
  const isWayLost =
    reason === 'path-lost' || (reason === 'peer-gone' && meeting?.relay === 'failed');
  if (!isWayLost || meeting === undefined) {
    return new NakodoError(reason, what, NEXT_STEPS[reason], endExit(reason));
  }
  const { says, next } = noWayWords(meeting);
  return new NakodoError(reason, `${what}: ${says}`, next, endExit(reason));
}

function endExit(reason: EndReason): ExitCode {
  if (isLimit(reason)) return EXIT.limit;
  return reason === 'path-lost' || reason === 'peer-gone' ? EXIT.unreachable : EXIT.failed;
}

/** The error of a stream that the peer reset; `code`: STREAM_CODE, or one we do not know. */
export function resetError(code: number): NakodoError {
  if (code === STREAM_CODE.refused) {
    return new NakodoError(
      'stream-refused',
      'nothing at the other terminal takes streams of this service',
      'its owner finds why with nakodo status there: a broken agent.toml, or nobody serves it',
    );
  }
  if (code === STREAM_CODE.noTarget) {
    return new NakodoError(
      'target-refused',
      'the port at the other terminal does not answer',
      'check that a program listens there, then connect again',
    );
  }
  return new NakodoError('stream-reset', 'the other terminal gave up this stream', 'try again');
}

const STREAM_FAILURES = {
  'other-service': [
    'the talk was granted for another service',
    'call again for this service: one talk, one service',
    EXIT.usage,
  ],
  'not-established': [
    'the two terminals have not proven themselves yet',
    'wait for session.established',
    EXIT.failed,
  ],
  'too-many-streams': [
    'the talk takes no further stream now',
    'wait until a stream is over',
    EXIT.failed,
  ],
  'parameters-too-long': [
    'the parameters of a stream are longer than 1024 bytes',
    'send them as the first bytes of the stream',
    EXIT.usage,
  ],
} as const;

/** The error for a stream that could not be opened. */
export function streamError(code: keyof typeof STREAM_FAILURES): NakodoError {
  const [message, next, exit] = STREAM_FAILURES[code];
  return new NakodoError(code, message, next, exit);
}
