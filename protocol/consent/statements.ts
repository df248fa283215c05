// Signed consent (design §3): what the caller asked and what the callee answered, each signed by
// the terminal's own key, so that neither can be made up by those in between, and both can be shown
// later from the log. A statement is made again from the fields of a message; only the signature
// travels.

import { decodeCbor, encodeCbor } from '../control/cbor.ts';
import {
  type ListEntry,
  type MessageOf,
  type PublicKeys,
  type Terms,
  listEntry,
  terms,
} from '../control/messages.ts';
import {
  type Infer,
  ascii,
  bool,
  bytes,
  deviceId,
  exactly,
  field,
  list,
  name,
  oneOf,
  optional,
  record,
  recordId,
  requestId,
  sessionId,
  uint,
} from '../control/schema.ts';
import { type CryptoSuite, HASH_BYTES, type SigningKey } from '../crypto.ts';
import { deviceIdOf } from '../identity/device-id.ts';
import { signed, verifySigned } from '../identity/signed.ts';
import type { DeviceId, Name, RequestId, SessionId } from '../ids.ts';
import { LIMITS } from '../limits.ts';

const VERSION = 1;
const service = ascii(LIMITS.serviceNameMax);

/** What a caller signs: who asks whom, for what; `nonce`: its own request ID, new each time. */
export const requestStatement = record({
  version: field(0, exactly(VERSION)),
  nonce: field(1, requestId),
  callerId: field(2, deviceId),
  callerName: field(3, name),
  calleeName: field(4, name),
  service: field(5, service),
  want: field(6, terms),
});

/** What the callee's answer consists of; its hash stands in the verdict. */
export const answerStatement = record({
  mode: field(0, oneOf('verdict', 'list')),
  version: field(1, ascii(64)),
  entries: field(2, list(listEntry, LIMITS.listEntriesMax)),
  reduced: field(3, bool),
  record: optional(4, recordId),
  approved: field(5, bool),
});

/**
 * What a callee signs (S4003): to which question (`ask`, and the hash of the caller's request),
 * with which nonce of its own, whom it answers about, and the hash of the answer.
 */
export const verdictStatement = record({
  version: field(0, exactly(VERSION)),
  ask: field(1, requestId),
  nonce: field(2, requestId),
  request: field(3, bytes(HASH_BYTES)),
  calleeId: field(4, deviceId),
  callerId: field(5, deviceId),
  answer: field(6, bytes(HASH_BYTES)),
});
type Verdict = Infer<typeof verdictStatement>;

/** What an end signs that asks for a later expiry [S5004]. */
export const extensionStatement = record({
  version: field(0, exactly(VERSION)),
  nonce: field(1, requestId),
  session: field(2, sessionId),
  askerId: field(3, deviceId),
  revision: field(4, uint(LIMITS.revisionsMax)),
  want: field(5, terms),
});

/** What a callee is asked about an extension: the talk, and the totals that are wanted. */
export const extensionQuestion = record({ session: field(0, sessionId), want: field(1, terms) });

/** Who asks whom, as a request says it. */
export interface Request {
  /** The caller's `connect.request`. */
  readonly nonce: RequestId;
  readonly callerId: DeviceId;
  readonly callerName: Name;
  readonly calleeName: Name;
  readonly service: string;
  readonly want: Terms;
}

/** The bytes that a caller signs. */
export function encodeRequest(request: Request): Uint8Array {
  const { nonce, callerId, callerName, calleeName, service: wanted, want } = request;
  return encodeCbor(requestStatement, {
    version: VERSION,
    nonce,
    callerId,
    callerName,
    calleeName,
    service: wanted,
    want,
  });
}

/** Signs a request; 64 bytes. */
export function signRequest(key: SigningKey, request: Request): Uint8Array {
  return signed(key, 'request', encodeRequest(request));
}

/** Whether the terminal of this ID, by these keys of its, made this request. */
export function isRequestOf(
  suite: CryptoSuite,
  keys: PublicKeys,
  request: Request,
  signature: Uint8Array,
): boolean {
  if (deviceIdOf(suite, keys) !== request.callerId) return false;
  return verifySigned(suite, keys.ed25519, 'request', encodeRequest(request), signature);
}

/** An answer as the message carries it. */
type AnswerFields = Pick<
  MessageOf<'allowList'>,
  'request' | 'nonce' | 'mode' | 'version' | 'entries' | 'reduced' | 'record' | 'approved'
>;

/** What stands around an answer: the other terminal, and the hash of its signed request. */
interface VerdictContext {
  readonly calleeId: DeviceId;
  readonly callerId: DeviceId;
  /** `requestHash` of the question's request; of an extension, of the asked totals. */
  readonly request: Uint8Array;
}

/** BLAKE2s of a request's bytes: how a verdict names it. */
export function requestHash(suite: CryptoSuite, request: Request): Uint8Array {
  return suite.blake2s(encodeRequest(request));
}

/** The same for an extension: the session and the totals that the callee was asked about. */
export function extensionHash(
  suite: CryptoSuite,
  asked: { readonly session: SessionId; readonly want: Terms },
): Uint8Array {
  return suite.blake2s(encodeCbor(extensionQuestion, asked));
}

/** The bytes that a callee signs. */
export function encodeVerdict(
  suite: CryptoSuite,
  answer: AnswerFields,
  context: VerdictContext,
): Uint8Array {
  const { mode, version, entries, reduced, record: addresses, approved } = answer;
  const hash = suite.blake2s(
    encodeCbor(answerStatement, {
      mode,
      version,
      entries: entries satisfies readonly ListEntry[],
      reduced,
      record: addresses,
      approved,
    }),
  );
  const { calleeId, callerId, request } = context;
  return encodeCbor(verdictStatement, {
    version: VERSION,
    ask: answer.request,
    nonce: answer.nonce,
    request,
    calleeId,
    callerId,
    answer: hash,
  });
}

/** Signs a verdict [S4003]; 64 bytes. */
export function signVerdict(key: SigningKey, verdict: Uint8Array): Uint8Array {
  return signed(key, 'verdict', verdict);
}

/** Whether this key signed this verdict. */
export function isVerdictOf(
  suite: CryptoSuite,
  ed25519: Uint8Array,
  verdict: Uint8Array,
  signature: Uint8Array,
): boolean {
  return verifySigned(suite, ed25519, 'verdict', verdict, signature);
}

/** Reads a verdict that came with a notice; undefined for bytes that are none. */
export function decodeVerdict(encoded: Uint8Array): Verdict | undefined {
  return decodeCbor(verdictStatement, encoded);
}

/** An extension as the message carries it, and who asks. */
type ExtensionFields = Pick<MessageOf<'extend'>, 'request' | 'session' | 'revision' | 'want'> & {
  readonly askerId: DeviceId;
};

/** The bytes that an end signs with its wish for a later expiry. */
export function encodeExtension(asked: ExtensionFields): Uint8Array {
  const { request, session, askerId, revision, want } = asked;
  return encodeCbor(extensionStatement, {
    version: VERSION,
    nonce: request,
    session,
    askerId,
    revision,
    want,
  });
}

/** Signs a wish for a later expiry; 64 bytes. */
export function signExtension(key: SigningKey, asked: ExtensionFields): Uint8Array {
  return signed(key, 'extension', encodeExtension(asked));
}

/** Whether this key signed this wish. */
export function isExtensionOf(
  suite: CryptoSuite,
  ed25519: Uint8Array,
  asked: ExtensionFields,
  signature: Uint8Array,
): boolean {
  return verifySigned(suite, ed25519, 'extension', encodeExtension(asked), signature);
}
