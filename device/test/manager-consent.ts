// What the double of the manager does with signatures, as the real one does it: it passes on what a
// caller signed, and believes no answer that the callee did not sign (design §3, Signed consent).

import { type ListAsk, type ListVerdict, judge } from '../../protocol/consent/allow-list.ts';
import {
  type Request,
  encodeVerdict,
  extensionHash,
  isExtensionOf,
  isRequestOf,
  isVerdictOf,
  requestHash,
} from '../../protocol/consent/statements.ts';
import type { MessageOf } from '../../protocol/control/messages.ts';
import type { RequestId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import type { Node } from './world-types.ts';

/** A callee's answer as it goes on to the caller, and stands in the grant. */
export interface Consent {
  readonly verdict: Uint8Array;
  readonly verdictSignature: Uint8Array;
  /** BLAKE2s of `verdict`. */
  readonly hash: Uint8Array;
}

/** What a caller signed. */
export function requestOf(caller: Node, connect: MessageOf<'connect'>): Request {
  const { request: nonce, callerName, calleeName, service, want } = connect;
  return { nonce, callerId: caller.id, callerName, calleeName, service, want };
}

/** The communication request that a connect request leads to; `request`: the manager's own. */
export function askOf(
  caller: Node,
  connect: MessageOf<'connect'>,
  request: RequestId,
): MessageOf<'ask'> {
  const asked = requestOf(caller, connect);
  if (!isRequestOf(nodeSuite, caller.keys, asked, connect.signature)) {
    throw new Error('a caller signs its request');
  }
  const { nonce, callerName, callerId, service, want } = asked;
  const { keys: callerKeys } = caller;
  const { signature, waitMs } = connect;
  const who = { callerName, callerId, callerKeys };
  return { kind: 'ask', request, ...who, service, want, nonce, signature, waitMs };
}

/** An answer that the callee signed; to a call, or (`extend`) to a wish for a later expiry. */
export function consentOf(
  caller: Node,
  callee: Node,
  asked: MessageOf<'connect'> | MessageOf<'extend'>,
  answer: MessageOf<'allowList'>,
): Consent {
  const request =
    asked.kind === 'connect'
      ? requestHash(nodeSuite, requestOf(caller, asked))
      : extensionHash(nodeSuite, { session: asked.session, want: asked.want });
  const context = { calleeId: callee.id, callerId: caller.id, request };
  const verdict = encodeVerdict(nodeSuite, answer, context);
  if (!isVerdictOf(nodeSuite, callee.keys.ed25519, verdict, answer.signature)) {
    throw new Error('a callee signs its answer');
  }
  return { verdict, verdictSignature: answer.signature, hash: nodeSuite.blake2s(verdict) };
}

/** A wish for a later expiry is signed by whoever asks. */
export function checkExtension(node: Node, extend: MessageOf<'extend'>): void {
  const asked = { ...extend, askerId: node.id };
  if (!isExtensionOf(nodeSuite, node.keys.ed25519, asked, extend.signature)) {
    throw new Error('an end signs its wish for a later expiry');
  }
}

/** [S2004]: what the callee's list says about a call, or (`current`) about an extension. */
export function judged(
  answer: MessageOf<'allowList'>,
  caller: Node,
  asked: Pick<ListAsk, 'service' | 'want'>,
  current?: ListAsk['current'],
): ListVerdict {
  const { entries, approved } = answer;
  const kind = current === undefined ? 'connect' : 'extend';
  const { name: callerName, id: callerId } = caller;
  return judge(entries, { callerName, callerId, ...asked, kind, current, approved });
}
