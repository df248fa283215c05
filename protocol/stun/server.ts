// A STUN server without a socket: what is answered to a Binding request, and which address record
// it is for. It keeps nothing, believes nothing but where the request came from, and never says
// more than it was told, so that whoever spoofs a source makes it send no more than they did
// themselves (threat model, T9). No authentication, no TURN, nothing of RFC 5780. RFC 8489 §6.3.1,
// §12.

import type { Path } from '../core.ts';
import { type RecordId, isRandomId } from '../ids.ts';
import { ATTRIBUTE, ERROR, encodeErrorCode, encodeXorAddress } from './attributes.ts';
import {
  ATTRIBUTE_HEADER_BYTES,
  type Attribute,
  METHOD,
  STUN_HEADER_BYTES,
  decodeMessage,
  encodeMessage,
} from './message.ts';

/** What a Binding request leads to. */
interface BindingReply {
  /** To be sent to where the request came from; undefined: it would be longer than the request. */
  readonly answer: Uint8Array | undefined;
  /** The address record that `from` belongs to, if the request names one: its sender's word. */
  readonly record: RecordId | undefined;
}

const RECORD_ID_LENGTH = 26;

/**
 * The answer to a Binding request: XOR-MAPPED-ADDRESS, and FINGERPRINT where it fits (52 bytes at
 * most); error 420 to one with an attribute that we would have to understand. An answer is never
 * longer than its request: a bare request of 20 bytes gets none. Undefined for everything that is
 * no Binding request. The record goes to the broker, which completes it with `from` (S1000, S3000).
 */
export function answerBinding(bytes: Uint8Array, from: Path): BindingReply | undefined {
  const message = decodeMessage(bytes);
  if (message?.stunClass !== 'request' || message.method !== METHOD.binding) return undefined;
  const { transaction, attributes, unknownRequired } = message;
  const reply = (stunClass: 'success' | 'error', content: readonly Attribute[]) => {
    const method = METHOD.binding;
    const said = { stunClass, method, transaction, attributes: content };
    const full = encodeMessage({ ...said, hasFingerprint: true });
    const answer = full.length <= bytes.length ? full : encodeMessage(said);
    return answer.length <= bytes.length ? answer : undefined;
  };
  if (unknownRequired.length > 0) {
    const types = unknownRequired.flatMap((type) => [type >> 8, type & 0xff]);
    const error: readonly Attribute[] = [
      [ATTRIBUTE.errorCode, encodeErrorCode(ERROR.unknownAttribute, 'Unknown Attribute')],
      [ATTRIBUTE.unknownAttributes, Uint8Array.from(types)],
    ];
    return { answer: reply('error', error), record: undefined };
  }
  const mapped = encodeXorAddress(from, transaction);
  if (mapped === undefined) return undefined;
  return {
    answer: reply('success', [[ATTRIBUTE.xorMappedAddress, mapped]]),
    record: recordIn(attributes.get(ATTRIBUTE.record)),
  };
}

/**
 * The record that a request names with its first attribute, where our terminals have it; what comes
 * behind is not read, so the rest of the message may be anything.
 */
export function recordAhead(bytes: Uint8Array): RecordId | undefined {
  const at = STUN_HEADER_BYTES;
  const isFirst =
    bytes[at] === ATTRIBUTE.record >> 8 && bytes[at + 1] === (ATTRIBUTE.record & 0xff);
  if (!isFirst || bytes[at + 2] !== 0 || bytes[at + 3] !== RECORD_ID_LENGTH) return undefined;
  const start = at + ATTRIBUTE_HEADER_BYTES;
  return recordIn(bytes.subarray(start, start + RECORD_ID_LENGTH));
}

function recordIn(value: Uint8Array | undefined): RecordId | undefined {
  if (value?.length !== RECORD_ID_LENGTH) return undefined;
  const text = String.fromCharCode(...value);
  return isRandomId(text) ? (text as RecordId) : undefined;
}
