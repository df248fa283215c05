// Time-limited credentials of a relay: user name `<unix seconds until>:<whoever>`, password the
// HMAC of it under a secret that manager and relay share (draft-uberti-behave-turn-rest-00 §2.2).
// The relay needs no list of users, and what leaks is worth nothing after a while.

import { utf8ToBytes } from '@noble/hashes/utils.js';
import { hmacSha1 } from './integrity.ts';

/** The password for a user name: 28 characters of base64. `secret`: as in `static-auth-secret`. */
export function relayCredentials(secret: Uint8Array, user: string): string {
  return btoa(String.fromCharCode(...hmacSha1(secret, utf8ToBytes(user))));
}
