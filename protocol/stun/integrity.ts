// What makes a STUN message somebody's: HMAC-SHA1 under a long-term or short-term key (RFC 8489
// §9, §14.5), and the CRC-32 that tells STUN from other datagrams (§14.7). SHA-1 and MD5 are what
// TURN servers speak; nothing of a talk rests on them: what is relayed is sealed end to end.

import { hmac } from '@noble/hashes/hmac.js';
import { md5, sha1 } from '@noble/hashes/legacy.js';
import { utf8ToBytes } from '@noble/hashes/utils.js';
import { concatBytes } from '../bytes.ts';

/** Bytes of a MESSAGE-INTEGRITY value. */
export const INTEGRITY_BYTES = 20;

const CRC_POLYNOMIAL = 0xedb88320;
const FINGERPRINT_XOR = 0x5354554e;
/**
 * By half bytes: a table of 256 takes so many turns when it is made that V8 starts its optimizing
 * compiler for it, which costs a terminal that only waits 5 MB.
 */
const CRC_TABLE = Uint32Array.from({ length: 16 }, (_, half) => {
  let value = half;
  for (let bit = 0; bit < 4; bit++) value = (value >>> 1) ^ (value & 1 ? CRC_POLYNOMIAL : 0);
  return value;
});

/**
 * The key of the long-term mechanism: MD5(username ":" realm ":" password). A text goes in as
 * UTF-8 and has to be prepared (OpaqueString) by whoever wrote it; ours are ASCII. Source: RFC 8489
 * §9.2.2.
 */
export function longTermKey(
  username: string,
  realm: Uint8Array,
  password: string | Uint8Array,
): Uint8Array {
  const colon = utf8ToBytes(':');
  const secret = typeof password === 'string' ? utf8ToBytes(password) : password;
  return md5(concatBytes(utf8ToBytes(username), colon, realm, colon, secret));
}

/** HMAC-SHA1: 20 bytes. */
export function hmacSha1(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  return hmac(sha1, key, bytes);
}

/**
 * The FINGERPRINT value of the first `length` bytes of a message whose length field already counts
 * the attribute: 32 bits, unsigned. Source: RFC 8489 §14.7.
 */
export function fingerprint(bytes: Uint8Array, length: number): number {
  let crc = 0xffffffff;
  for (let at = 0; at < length; at++) {
    crc = (crc >>> 4) ^ CRC_TABLE[(crc ^ bytes[at]) & 0xf];
    crc = (crc >>> 4) ^ CRC_TABLE[(crc ^ (bytes[at] >> 4)) & 0xf];
  }
  return (crc ^ 0xffffffff ^ FINGERPRINT_XOR) >>> 0;
}

/** Whether two authenticators are the same, in a time that does not tell where they differ. */
export function sameAuthenticator(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let at = 0; at < a.length && at < b.length; at++) difference |= a[at] ^ b[at];
  return difference === 0;
}
