// The three packets of a talk; a datagram is one packet (docs/wire.md, "The talk"):
//
//   initiation  1: 0x01 | receiver index (4) | e (32) + tag (16)            = 53 bytes
//   response    1: 0x02 | receiver index (4) | e (32) + tag (16)            = 53 bytes
//   transport   1: 0x04 + key phase bit | receiver index (4) | packet number (6) | sealed + tag
//
// Numbers are big endian. Nothing here is authenticated yet: a datagram that does not look like one
// of the three is no packet, and one that does may still be anybody's. The readers take a packet
// whose kind is known, so that the hot path allocates nothing.

import { assert } from '../assert.ts';
import { asciiBytes } from '../bytes.ts';
import { type CryptoSuite, NONCE_BYTES, TAG_BYTES } from '../crypto.ts';
import type { SessionId } from '../ids.ts';
import type { Role } from './connection-types.ts';
import { CRYPTO_LIMITS } from './limits.ts';

type PacketKind = 'initiation' | 'response' | 'transport';

/** Bytes of a transport packet before the frames: type 1, receiver index 4, packet number 6. */
export const HEADER_BYTES = 11;
/** Bytes of a transport packet that are not frames: header and tag. */
export const PACKET_OVERHEAD_BYTES = HEADER_BYTES + TAG_BYTES;
/** Bytes of an initiation or a response. */
export const HANDSHAKE_PACKET_BYTES = 53;
/** Bytes of an initiation or a response before the Noise message. */
export const HANDSHAKE_HEADER_BYTES = 5;

const TYPE_INITIATION = 0x01;
const TYPE_RESPONSE = 0x02;
const TYPE_TRANSPORT = 0x04;
const KEY_PHASE_BIT = 0x01;
const INDEX_AT = 1;
const NUMBER_AT = 5;
const INDEX_LABEL = 'nakodo/1/index';
const UINT32 = 2 ** 32;

/** What one transport packet carries in the clear, authenticated as AAD. */
interface TransportHeader {
  /** The lowest bit of the sender's key phase. */
  readonly keyPhase: number;
  /** 32 bits, unsigned: `receiverIndex` of the end that the packet goes to. */
  readonly receiverIndex: number;
  /** 0 to 2^48 - 1. */
  readonly packetNumber: number;
}

/** Looks at type and length only; undefined for what cannot be a packet of ours. */
export function packetKind(datagram: Uint8Array): PacketKind | undefined {
  const type = datagram[0];
  const length = datagram.length;
  if (type === TYPE_TRANSPORT || type === (TYPE_TRANSPORT | KEY_PHASE_BIT))
    return length >= HEADER_BYTES + TAG_BYTES ? 'transport' : undefined;
  if (length !== HANDSHAKE_PACKET_BYTES) return undefined;
  if (type === TYPE_INITIATION) return 'initiation';
  return type === TYPE_RESPONSE ? 'response' : undefined;
}

/** The receiver index of any packet that has a kind: 32 bits, unsigned. */
export function indexOf(packet: Uint8Array): number {
  return readUint32(packet, INDEX_AT);
}

/** The packet number of a transport packet: 0 to 2^48 - 1. */
export function packetNumberOf(packet: Uint8Array): number {
  const high = (packet[NUMBER_AT] << 8) | packet[NUMBER_AT + 1];
  return high * UINT32 + readUint32(packet, NUMBER_AT + 2);
}

/** The key phase bit of a transport packet: 0 or 1. */
export function keyPhaseOf(packet: Uint8Array): number {
  return packet[0] & KEY_PHASE_BIT;
}

/** Writes HEADER_BYTES at the start of `into`. */
export function encodeTransportHeader(into: Uint8Array, header: TransportHeader): void {
  const { keyPhase, receiverIndex: index, packetNumber } = header;
  assert(
    packetNumber >= 0 && packetNumber <= CRYPTO_LIMITS.packetNumberMax,
    'a packet number has 48 bits',
  );
  into[0] = TYPE_TRANSPORT | (keyPhase & KEY_PHASE_BIT);
  writeUint32(into, INDEX_AT, index);
  const high = Math.floor(packetNumber / UINT32);
  into[NUMBER_AT] = high >>> 8;
  into[NUMBER_AT + 1] = high;
  writeUint32(into, NUMBER_AT + 2, packetNumber % UINT32);
}

/** Writes HANDSHAKE_HEADER_BYTES at the start of `into`. */
export function encodeHandshakeHeader(
  into: Uint8Array,
  kind: 'initiation' | 'response',
  index: number,
): void {
  into[0] = kind === 'initiation' ? TYPE_INITIATION : TYPE_RESPONSE;
  writeUint32(into, INDEX_AT, index);
}

/**
 * The index of the end with this role: what stands in the packets that go *to* it. Both ends know
 * it without asking, and it differs in every session, so it links no two of them.
 */
export function receiverIndex(suite: CryptoSuite, session: SessionId, role: Role): number {
  const digest = suite.blake2s(asciiBytes(`${INDEX_LABEL}${session}${role}`));
  return readUint32(digest, 0);
}

/**
 * Writes the 12-byte nonce of a packet: 4 zero bytes, the number in 8 bytes little endian, as in a
 * Noise transport message. Source: Noise revision 34 §12.3.
 */
export function packetNonce(packetNumber: number, into: Uint8Array): void {
  into.fill(0, 0, NONCE_BYTES);
  const low = packetNumber % UINT32;
  const high = Math.floor(packetNumber / UINT32);
  into[4] = low;
  into[5] = low >>> 8;
  into[6] = low >>> 16;
  into[7] = low >>> 24;
  into[8] = high;
  into[9] = high >>> 8;
}

function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

function writeUint32(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
}
