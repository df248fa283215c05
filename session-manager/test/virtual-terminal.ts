// What a terminal does by itself in the manager's
// tests: it opens what is for it, shakes hands, signs.

import {
  encodeVerdict,
  extensionHash,
  requestHash,
  signRequest,
  signVerdict,
} from '../../protocol/consent/statements.ts';
import { decodeMessage } from '../../protocol/control/codec.ts';
import type { Message, MessageOf } from '../../protocol/control/messages.ts';
import { Hello, type SealedChannel } from '../../protocol/control/seal.ts';
import type { DhKey, SigningKey } from '../../protocol/crypto.ts';
import { type DeviceId, type Name, type RequestId, randomRequestId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import type { Rng } from '../../protocol/random.ts';

export interface Terminal {
  readonly key: SigningKey;
  readonly dh: DhKey;
  readonly keys: { readonly ed25519: Uint8Array; readonly x25519: Uint8Array };
  readonly id: DeviceId;
  readonly name: Name;
}

/** What a terminal's process knows of its manager. */
export interface Line {
  boot: RequestId;
  channel: SealedChannel | undefined;
  /** The one before, for opening only. */
  former: SealedChannel | undefined;
  hello: Hello | undefined;
}

/** A payload or message as a terminal reads it: opened if it was sealed for it, else as it is. */
export function opened(line: Line | undefined, bytes: Uint8Array): Uint8Array {
  const message = decodeMessage(bytes);
  if (message?.kind !== 'sealed') return bytes;
  return line?.channel?.open(message) ?? line?.former?.open(message) ?? bytes;
}

/** Begins a handshake; `managerKey`: X25519. */
export function helloOf(rng: Rng, from: Terminal, managerKey: Uint8Array): Hello {
  return new Hello({ suite: nodeSuite, rng, device: from.id, localKey: from.dh, managerKey });
}

/** A connect request under a terminal's own signature. */
export function signedConnect(
  from: Terminal,
  fields: Omit<MessageOf<'connect'>, 'kind' | 'signature'>,
): MessageOf<'connect'> {
  const { request: nonce, callerName, calleeName, service, want } = fields;
  const request = { nonce, callerId: from.id, callerName, calleeName, service, want };
  return { ...fields, kind: 'connect', signature: signRequest(from.key, request) };
}

export type AnswerFields = Pick<
  MessageOf<'allowList'>,
  'request' | 'entries' | 'mode' | 'record'
> & { readonly approved?: boolean };

/** An answer under a terminal's own signature; `asks`: all questions so far. */
export function signedAnswer(
  rng: Rng,
  callee: Terminal,
  of: AnswerFields,
  asks: readonly (Message | undefined)[],
): MessageOf<'allowList'> {
  const fields = {
    ...of,
    version: '1',
    reduced: false,
    nonce: randomRequestId(rng),
    approved: of.approved ?? false,
  };
  const { callerId, asked } = question(callee, of.request, asks);
  const context = { calleeId: callee.id, callerId, request: asked };
  const verdict = encodeVerdict(nodeSuite, fields, context);
  return { ...fields, kind: 'allowList', signature: signVerdict(callee.key, verdict) };
}

/** Who asked in a question, and the hash that names it; of no question: a guess. */
function question(
  callee: Terminal,
  request: RequestId,
  asks: readonly (Message | undefined)[],
): { callerId: DeviceId; asked: Uint8Array } {
  const found = asks.findLast(
    (one) => (one?.kind === 'ask' || one?.kind === 'askExtend') && one.request === request,
  );
  if (found?.kind === 'askExtend') {
    return { callerId: found.callerId, asked: extensionHash(nodeSuite, found) };
  }
  if (found?.kind !== 'ask') return { callerId: callee.id, asked: new Uint8Array(32) };
  const { nonce, callerId, callerName, service, want } = found;
  const wanted = { nonce, callerId, callerName, calleeName: callee.name, service, want };
  return { callerId, asked: requestHash(nodeSuite, wanted) };
}
