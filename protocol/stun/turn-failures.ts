// What it means when a relay fails, in words for a person: what happened, and what to try. Numbers
// are those of RFC 8489 §14.8 and RFC 8656 §19. What the server itself says in words is not shown.

/** Why there is no relay. `code`: the server's error; undefined: it said nothing. */
export interface TurnFailure {
  readonly code: number | undefined;
  /** A sentence or two; no address, no key. */
  readonly says: string;
}

const WORDS: ReadonlyMap<number, string> = new Map([
  [300, 'The relay sends us to another server, which is not followed. Name that one instead.'],
  [400, 'The relay did not understand us. Check that it is a TURN server (RFC 8656).'],
  [
    401,
    'The relay refused user name and password: they have expired, or manager and relay do not ' +
      'share one secret. Call again; if that fails too, compare the secrets and the clocks.',
  ],
  [
    420,
    'The relay answers with something that nakodo does not know, or that was changed on its way. ' +
      'Check that it is a TURN server (RFC 8656).',
  ],
  [403, 'The relay forbids this. See which peers and ranges its settings allow.'],
  [
    437,
    'The relay does not know our allocation, or holds an older one: it was restarted, or our ' +
      'address changed. Call again.',
  ],
  [438, 'The relay took none of the nonces that it gave. Check its clock and its settings.'],
  [440, 'The relay has no address of this IP version. Use a relay that has.'],
  [441, 'The relay holds an allocation of somebody else at our port. Call again.'],
  [442, 'The relay does not relay UDP. See its settings.'],
  [486, 'The relay has reached what it gives to one user. End other talks, or raise its quota.'],
  [500, 'The relay had an error of its own. Call again in a while.'],
  [508, 'The relay has no free port. Call again in a while, or give it more ports.'],
]);

/** The failure for an error code. */
export function refusedByRelay(code: number): TurnFailure {
  const says = WORDS.get(code) ?? `The relay refused with error ${code}. See its log.`;
  return { code, says };
}

/** The relay never answered. */
export const RELAY_SILENT: TurnFailure = {
  code: undefined,
  says: 'The relay does not answer: it is down, or UDP to it is blocked. Check both.',
};

/** The relay worked, and does no more. */
export const RELAY_LOST: TurnFailure = {
  code: undefined,
  says: 'The relay stopped answering: it is down, or the way to it is gone. Call again.',
};

/** The relay accepted, but its answer lacks what RFC 8656 §7.3 demands. */
export const RELAY_WITHOUT_ADDRESS: TurnFailure = {
  code: undefined,
  says: 'The relay gave no address. Check that it is a TURN server (RFC 8656).',
};

/** No relay answered, whatever carried the question. */
export const RELAY_SHUT: TurnFailure = {
  code: undefined,
  says:
    'The relay answers neither over UDP nor over TCP: it is down, or this network lets nothing ' +
    'through to it. Check both.',
};

/** The stream to a relay that worked is closed or broken. */
export const RELAY_CUT: TurnFailure = {
  code: undefined,
  says: 'The connection to the relay is cut: it is down, or the way to it is gone. Call again.',
};

/** Nothing was asked. */
export const RELAY_UNOPENED: TurnFailure = {
  code: undefined,
  says: 'This machine has no socket for the relay. End other talks, or check its addresses.',
};
