// Bytes as text in our files and in what node:crypto calls a JWK: base64url without padding
// (RFC 4648 §5).

const BASE64URL = /^[A-Za-z0-9_-]*$/;

/** Bytes as base64url. */
export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}

/** The bytes that a base64url text stands for; undefined for any other text. */
export function fromBase64(text: string): Uint8Array | undefined {
  return BASE64URL.test(text) ? Uint8Array.from(Buffer.from(text, 'base64url')) : undefined;
}
