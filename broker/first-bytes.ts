// What a stranger's first bytes are allowed to be: on a TLS port one ClientHello, then one CONNECT
// packet. Both are looked at before anything is made for them, since OpenSSL believes an announced
// ClientHello of 128 KiB and Aedes a packet of 256 MiB. Nothing here is longer than
// BROKER_LIMITS.strangerBytesMax.
//
//   record    22 | 3, minor | length (2)            RFC 8446 §5.1
//   handshake  1 | length (3)                       RFC 8446 §4
//   hello      version (2) | random (32) | session ID (1 + n) | cipher suites (2 + n) |
//              compression (1 + n) | extensions (2 + n: type (2) | length (2) …)   §4.1.2
//   CONNECT   0x10 | remaining length (1–4)         MQTT 3.1.1 §3.1, §2.2.3

import { BROKER_LIMITS } from './limits.ts';

/** All there, more to come, longer than allowed, or something else altogether. */
export type FirstBytes = 'whole' | 'more' | 'too-long' | 'malformed';

const RECORD_HEADER_BYTES = 5;
const HANDSHAKE_HEADER_BYTES = 4;
const HANDSHAKE_RECORD = 22;
const TLS_MAJOR = 3;
const CLIENT_HELLO = 1;
const VERSION_AND_RANDOM_BYTES = 34;
const KEY_SHARE = 51;
const X25519 = 29;
const CONNECT = 0x10;
const CONTINUES = 0x80;
const LENGTH_BYTES_MAX = 4;

/**
 * Judges the bytes of a connection so far as a ClientHello that OpenSSL can answer at once: one
 * record, with a key for X25519, so that it need not ask for another hello, whose length nobody
 * here would see.
 */
export function judgeClientHello(held: Uint8Array): FirstBytes {
  const isRecord =
    (held.length < 1 || held[0] === HANDSHAKE_RECORD) &&
    (held.length < 2 || held[1] === TLS_MAJOR) &&
    (held.length <= RECORD_HEADER_BYTES || held[RECORD_HEADER_BYTES] === CLIENT_HELLO);
  if (!isRecord) return 'malformed';
  const body = RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES;
  if (held.length < RECORD_HEADER_BYTES) return 'more';
  const end = RECORD_HEADER_BYTES + uint16(held, 3);
  if (end > BROKER_LIMITS.strangerBytesMax) return 'too-long';
  if (end < body) return 'malformed';
  if (held.length < body) return 'more';
  const length = (held[6] << 16) | uint16(held, 7);
  if (length > end - body) return 'too-long';
  if (length < end - body) return 'malformed';
  if (held.length < end) return 'more';
  return offersX25519(held.subarray(body, end)) ? 'whole' : 'malformed';
}

/** Judges the bytes of a connection so far as a CONNECT packet. */
export function judgeConnect(held: Uint8Array): FirstBytes {
  if (held.length > 0 && held[0] !== CONNECT) return 'malformed';
  let length = 0;
  for (let at = 1; at <= LENGTH_BYTES_MAX; at++) {
    if (at >= held.length) return 'more';
    length |= (held[at] & ~CONTINUES) << (7 * (at - 1));
    if ((held[at] & CONTINUES) !== 0) continue;
    if (1 + at + length > BROKER_LIMITS.strangerBytesMax) return 'too-long';
    return held.length >= 1 + at + length ? 'whole' : 'more';
  }
  return 'malformed';
}

const uint16 = (bytes: Uint8Array, at: number): number => (bytes[at] << 8) | bytes[at + 1];

/** The vector at `at` whose length takes `lengthBytes`; undefined if it is not all there. */
function vector(bytes: Uint8Array, at: number, lengthBytes: 1 | 2): Uint8Array | undefined {
  if (at + lengthBytes > bytes.length) return undefined;
  const start = at + lengthBytes;
  const length = lengthBytes === 1 ? bytes[at] : uint16(bytes, at);
  return start + length > bytes.length ? undefined : bytes.subarray(start, start + length);
}

function offersX25519(hello: Uint8Array): boolean {
  const session = vector(hello, VERSION_AND_RANDOM_BYTES, 1);
  if (session === undefined) return false;
  let at = VERSION_AND_RANDOM_BYTES + 1 + session.length;
  const suites = vector(hello, at, 2);
  if (suites === undefined) return false;
  at += 2 + suites.length;
  const compression = vector(hello, at, 1);
  if (compression === undefined) return false;
  at += 1 + compression.length;
  const extensions = vector(hello, at, 2);
  const share = extensions === undefined ? undefined : numbered(extensions, KEY_SHARE);
  const keys = share === undefined ? undefined : vector(share, 0, 2);
  return keys !== undefined && numbered(keys, X25519) !== undefined;
}

/** In a row of number (2), length (2), content: the content of the first with this number. */
function numbered(row: Uint8Array, number: number): Uint8Array | undefined {
  for (let at = 0; at + 2 <= row.length;) {
    const content = vector(row, at + 2, 2);
    if (content === undefined) return undefined;
    if (uint16(row, at) === number) return content;
    at += 4 + content.length;
  }
  return undefined;
}
