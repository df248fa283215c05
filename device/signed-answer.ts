// How a callee answers [S4003]: its list, or what of it concerns the caller, signed with its own
// key (design §3), under a nonce of this boot that the address notice has to echo.

import type { RelayPolicy } from '../protocol/address.ts';
import { type AllowList, type ListAsk, travellingList } from '../protocol/consent/allow-list.ts';
import {
  type Request,
  encodeVerdict,
  isRequestOf,
  requestHash,
  signVerdict,
} from '../protocol/consent/statements.ts';
import { encodeMessage } from '../protocol/control/codec.ts';
import type { MessageOf } from '../protocol/control/messages.ts';
import type { DeviceId, RecordId, RequestId } from '../protocol/ids.ts';
import { randomRequestId } from '../protocol/ids.ts';
import type { Rng } from '../protocol/random.ts';
import type { LocalMoment } from '../protocol/units.ts';
import type { Self } from './address-notice.ts';

/** The list as it goes to the manager. */
export type Travelling = Pick<MessageOf<'allowList'>, 'mode' | 'version' | 'entries' | 'reduced'>;

/** Default deny: says yes to nobody and names nobody (S4003). */
export const EMPTY_VERDICT: Travelling = {
  mode: 'verdict',
  version: 'none',
  entries: [],
  reduced: true,
};

/** An answer, ready to be sent, and what its notice will be held against. */
export interface SignedAnswer {
  /** The encoded `allowList`. */
  readonly bytes: Uint8Array;
  /** What the address notice has to echo. */
  readonly nonce: RequestId;
  /** BLAKE2s of the signed verdict, 32 bytes: has to stand in the grant. */
  readonly verdictHash: Uint8Array;
}

/** What goes to the manager of a list that can be read. */
export function travelling(
  list: AllowList,
  ask: Pick<ListAsk, 'callerName' | 'callerId' | 'service'>,
  at: LocalMoment,
): Travelling {
  const { entries, reduced } = travellingList(list, ask, at);
  return { mode: list.mode, version: list.version, entries, reduced };
}

/** What the manager may use to let two terminals meet; not signed, as nothing depends on it. */
export interface MeetingHints {
  /** Of one way to the manager, in milliseconds. */
  readonly delayMs: number | undefined;
  readonly relay: RelayPolicy;
  /** The ephemeral key of this call's handshake, 32 bytes. */
  readonly share: Uint8Array;
}

/**
 * Signs an answer [S4003, claim 1]; `question`: the hash of what was asked (`requestHash`, or
 * `extensionHash`).
 */
export function signAnswer(
  self: Self,
  rng: Rng,
  answer: {
    readonly request: RequestId;
    readonly callerId: DeviceId;
    readonly question: Uint8Array;
    readonly travelling: Travelling;
    readonly record?: RecordId | undefined;
    readonly approved: boolean;
    readonly hints?: MeetingHints | undefined;
  },
): SignedAnswer {
  const { request, callerId, question, record, approved, hints } = answer;
  const nonce = randomRequestId(rng);
  const fields = { request, ...answer.travelling, record, nonce, approved };
  const context = { calleeId: self.id, callerId, request: question };
  const verdict = encodeVerdict(self.suite, fields, context);
  const signature = signVerdict(self.signingKey, verdict);
  return {
    bytes: encodeMessage({ kind: 'allowList', ...fields, signature, ...hints }),
    nonce,
    verdictHash: self.suite.blake2s(verdict),
  };
}

/** Whether the caller itself asked for this terminal by name, whatever the manager says. */
export function isSignedAsk(self: Self, ask: MessageOf<'ask'>): boolean {
  return isRequestOf(self.suite, ask.callerKeys, requestOf(self, ask), ask.signature);
}

/** Signs the answer to a communication request [S4003]; without `record`: a no. */
export function signAnswerTo(
  self: Self,
  rng: Rng,
  ask: MessageOf<'ask'>,
  list: Travelling,
  yes: {
    readonly record: RecordId | undefined;
    readonly approved: boolean;
    readonly hints?: MeetingHints | undefined;
  } = NOTHING,
): SignedAnswer {
  const { request, callerId } = ask;
  const question = requestHash(self.suite, requestOf(self, ask));
  return signAnswer(self, rng, { request, callerId, question, travelling: list, ...yes });
}

const NOTHING = { record: undefined, approved: false } as const;

/** What the caller has to have signed to ask this terminal. */
function requestOf(self: Self, ask: MessageOf<'ask'>): Request {
  const { nonce, callerId, callerName, service, want } = ask;
  return { nonce, callerId, callerName, calleeName: self.name, service, want };
}
