// ChaCha20-Poly1305 in plain TypeScript, audited: what the fast ones are tested against, and what
// is used where there is no other. Pure. Source: RFC 8439.

import { chacha20poly1305 } from '@noble/ciphers/chacha.js';

import { assert } from './assert.ts';
import { type Aead, KEY_BYTES, TAG_BYTES } from './crypto.ts';

/** [claim 7]: the reference AEAD; about a third of node:crypto's speed at 1200 bytes. */
export const nobleAead: Aead = {
  name: 'noble',
  importKey(bytes) {
    assert(bytes.length === KEY_BYTES, 'an AEAD key has 32 bytes');
    const key = bytes.slice();
    return {
      seal(nonce, aad, buffer, start, length) {
        const plaintext = buffer.subarray(start, start + length);
        const output = buffer.subarray(start, start + length + TAG_BYTES);
        chacha20poly1305(key, nonce, aad).encrypt(plaintext, output);
      },
      open(nonce, aad, buffer, start, length) {
        if (length < TAG_BYTES) return false;
        try {
          const sealed = buffer.subarray(start, start + length);
          const output = sealed.subarray(0, length - TAG_BYTES);
          chacha20poly1305(key, nonce, aad).decrypt(sealed, output);
          return true;
        } catch {
          // The one thing that it throws for here: the tag does not match.
          return false;
        }
      },
    };
  },
};
