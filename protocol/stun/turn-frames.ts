// The two ways in which a datagram travels between a terminal and its relay: ChannelData (4 bytes
// in front, once a channel is bound) and Send indications (36 or 48 bytes, with a permission only).
// Both are written around the datagram where it lies, so that relaying copies nothing twice. RFC
// 8656 §11, §12.4, §12.5.

import type { Path } from '../core.ts';
import { type Rng } from '../random.ts';
import { ATTRIBUTE, encodeXorAddress } from './attributes.ts';
import {
  ATTRIBUTE_HEADER_BYTES,
  METHOD,
  STUN_HEADER_BYTES,
  TRANSACTION_BYTES,
  padded,
  writeHeader,
} from './message.ts';

/** Bytes that a bound channel adds to a datagram. */
export const CHANNEL_HEADER_BYTES = 4;
/** The first channel number, and how many there are (RFC 8656 §12). */
export const CHANNEL_FIRST = 0x4000;
export const CHANNELS = 0x1000;

const PADDING_MAX = 3;
const LENGTH_MAX = 0xffff;

/** Whether a datagram begins like ChannelData; no STUN message and no packet of a talk does. */
export const isChannelData = (bytes: Uint8Array): boolean => bytes[0] >> 4 === CHANNEL_FIRST >> 12;

/** The channel of ChannelData: its number less CHANNEL_FIRST. */
export const channelIndexOf = (bytes: Uint8Array): number =>
  ((bytes[0] << 8) | bytes[1]) & (CHANNELS - 1);

/** What ChannelData carries, as a view; undefined if its length is not that of the datagram. */
export function channelPayload(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes.length < CHANNEL_HEADER_BYTES) return undefined;
  const end = CHANNEL_HEADER_BYTES + ((bytes[2] << 8) | bytes[3]);
  if (end > bytes.length || bytes.length - end > PADDING_MAX) return undefined;
  return bytes.subarray(CHANNEL_HEADER_BYTES, end);
}

/**
 * Turns the first `size` bytes of `buffer` into ChannelData of channel CHANNEL_FIRST + `index`;
 * returns the new size, 0 if there is no room for it.
 */
export function wrapInChannel(index: number, buffer: Uint8Array, size: number): number {
  const total = CHANNEL_HEADER_BYTES + size;
  if (total > buffer.length || size > LENGTH_MAX) return 0;
  const number = CHANNEL_FIRST + index;
  buffer.copyWithin(CHANNEL_HEADER_BYTES, 0, size);
  buffer[0] = number >> 8;
  buffer[1] = number;
  buffer[2] = size >> 8;
  buffer[3] = size;
  return total;
}

/**
 * Turns the first `size` bytes of `buffer` into a Send indication to `peer`; returns the new size,
 * 0 if there is no room for it.
 */
export function wrapInIndication(
  rng: Rng,
  {
    peer,
    buffer,
    size,
  }: { readonly peer: Path; readonly buffer: Uint8Array; readonly size: number },
): number {
  const transaction = new Uint8Array(TRANSACTION_BYTES);
  rng.fill(transaction);
  const address = encodeXorAddress(peer, transaction);
  if (address === undefined) return 0;
  const addressAt = STUN_HEADER_BYTES + ATTRIBUTE_HEADER_BYTES;
  const dataAt = addressAt + address.length + ATTRIBUTE_HEADER_BYTES;
  const total = padded(dataAt + size);
  if (total > buffer.length || total - STUN_HEADER_BYTES > LENGTH_MAX) return 0;
  buffer.copyWithin(dataAt, 0, size);
  buffer.fill(0, dataAt + size, total);
  writeHeader(
    buffer,
    { stunClass: 'indication', method: METHOD.send, transaction },
    total - STUN_HEADER_BYTES,
  );
  writeAttributeHeader(buffer, STUN_HEADER_BYTES, ATTRIBUTE.xorPeerAddress, address.length);
  buffer.set(address, addressAt);
  writeAttributeHeader(buffer, dataAt - ATTRIBUTE_HEADER_BYTES, ATTRIBUTE.data, size);
  return total;
}

function writeAttributeHeader(into: Uint8Array, at: number, type: number, length: number): void {
  into[at] = type >> 8;
  into[at + 1] = type;
  into[at + 2] = length >> 8;
  into[at + 3] = length;
}
