// Message ↔ bytes. Anything that is not exactly one known message is `undefined`: the caller counts
// it and goes on.

import { assert } from '../assert.ts';
import { LIMITS } from '../limits.ts';
import { decodeCbor, encodeCbor } from './cbor.ts';
import { KIND_NUMBERS, type Kind, MESSAGE_TYPES, type Message, WIRE_VERSION } from './messages.ts';

const kindByNumber = new Map<number, Kind>(
  Object.entries(KIND_NUMBERS).map(([kind, number]) => [number, kind as Kind]),
);

/** Encodes a message: a CBOR map of at most LIMITS.messageBytesMax bytes. */
export function encodeMessage(message: Message): Uint8Array {
  const { kind, ...fields } = message;
  const encoded = encodeCbor(MESSAGE_TYPES[kind], {
    wireVersion: WIRE_VERSION,
    kindNumber: KIND_NUMBERS[kind],
    ...fields,
  });
  const isFit = kind === 'sealed' || encoded.length <= LIMITS.messageBytesMax;
  assert(isFit, 'what is encoded can be sealed');
  return encoded;
}

/** Decodes a message, or undefined if the bytes are not exactly one that we know. */
export function decodeMessage(bytes: Uint8Array): Message | undefined {
  // {0: version, 1: kind …}: a map head, key 0, version, key 1, then the kind in one or two bytes.
  if (bytes.length < 5 || bytes.length > LIMITS.sealedBytesMax) return undefined;
  const headLength = bytes[0] < 0xb8 ? 1 : 2;
  const number = bytes[headLength + 3] === 0x18 ? bytes[headLength + 4] : bytes[headLength + 3];
  const kind = kindByNumber.get(number);
  if (kind === undefined) return undefined;
  if (kind !== 'sealed' && bytes.length > LIMITS.messageBytesMax) return undefined;
  const decoded = decodeCbor(MESSAGE_TYPES[kind], bytes);
  if (decoded === undefined) return undefined;
  const { wireVersion: _version, kindNumber: _number, ...fields } = decoded;
  return { kind, ...fields } as Message;
}
