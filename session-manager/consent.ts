// Signed consent as the manager checks and keeps it (design §3): the caller's request, the callee's
// verdict, each as the very bytes that the terminal signed, so that the log can show them to
// anybody who has the terminals' public keys.

import type { MessageOf, PublicKeys } from '../protocol/control/messages.ts';
import {
  type Request,
  encodeRequest,
  encodeVerdict,
  isRequestOf,
  isVerdictOf,
} from '../protocol/consent/statements.ts';
import type { CryptoSuite } from '../protocol/crypto.ts';
import type { DeviceId } from '../protocol/ids.ts';

/** A statement and the terminal's signature over it. */
export interface Signed {
  readonly statement: Uint8Array;
  readonly signature: Uint8Array;
}

/** What a connect request says, under the ID that the broker and the seal have proven. */
function requestOf(from: DeviceId, connect: MessageOf<'connect'>): Request {
  const { request, callerName, calleeName, service, want } = connect;
  return { nonce: request, callerId: from, callerName, calleeName, service, want };
}

/** Whether the caller itself signed its request [S2001]. */
export function isSignedBy(
  suite: CryptoSuite,
  keys: PublicKeys,
  from: DeviceId,
  connect: MessageOf<'connect'>,
): boolean {
  return isRequestOf(suite, keys, requestOf(from, connect), connect.signature);
}

/** A request as it is kept. */
export function signedRequest(from: DeviceId, connect: MessageOf<'connect'>): Signed {
  return { statement: encodeRequest(requestOf(from, connect)), signature: connect.signature };
}

/**
 * The callee's signed answer [S2003]; undefined if it is not the callee's own, or about another
 * question. `asked`: the hash that names the question.
 */
export function verdictOf(
  suite: CryptoSuite,
  calleeKeys: PublicKeys,
  answer: MessageOf<'allowList'>,
  about: { readonly calleeId: DeviceId; readonly callerId: DeviceId; readonly asked: Uint8Array },
): Signed | undefined {
  const { calleeId, callerId, asked } = about;
  const statement = encodeVerdict(suite, answer, { calleeId, callerId, request: asked });
  const { signature } = answer;
  if (!isVerdictOf(suite, calleeKeys.ed25519, statement, signature)) return undefined;
  return { statement, signature };
}

/** What the log keeps of both (log.ts). */
interface ConsentProof {
  readonly request: Uint8Array;
  readonly requestSignature: Uint8Array;
  readonly verdict: Uint8Array;
  readonly verdictSignature: Uint8Array;
}

/** Both as the fields of a log entry. */
export function consentProof(request: Signed, verdict: Signed): ConsentProof {
  return {
    request: request.statement,
    requestSignature: request.signature,
    verdict: verdict.statement,
    verdictSignature: verdict.signature,
  };
}
