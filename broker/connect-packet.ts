// The CONNECT packet, read by ourselves (MQTT 3.1.1 §3.1): a login is judged on it before Aedes is
// told of the connection at all, so that whoever proves nothing costs little and touches nothing.
// Only the form that our own parties send is read; everything else is refused.
//
//   0x10 | remaining length (1–4) | 0, 4, "MQTT" | 4 | flags | keep alive (2)
//   | client ID (2 + n) | username (2 + n) | password (2 + n)

import type { Login } from './login.ts';

const PROTOCOL = [0, 4, 0x4d, 0x51, 0x54, 0x54, 4];
const CLEAN_SESSION = 0x02;
const PASSWORD = 0x40;
const USERNAME = 0x80;
const KEEP_ALIVE_BYTES = 2;
const CONTINUES = 0x80;

/** CONNACK (§3.2): refused, with a return code of 2 to 5. */
export const refusedConnack = (code: number): Uint8Array => Uint8Array.of(0x20, 2, 0, code);

/**
 * Reads the login off a whole CONNECT packet, or says that it is none of ours: MQTT 3.1.1, a clean
 * session, no Will, a client ID of ASCII. What stands behind the packet is not looked at.
 * `bytes`: as `judgeConnect` found them whole; the password is a view of them.
 */
export function parseConnect(bytes: Uint8Array): Login | undefined {
  let at = 1;
  let length = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    length |= (byte & ~CONTINUES) << shift;
    if ((byte & CONTINUES) === 0) break;
  }
  const end = at + length;
  if (end > bytes.length || PROTOCOL.some((byte, index) => bytes[at + index] !== byte)) {
    return undefined;
  }
  at += PROTOCOL.length;
  const flags = bytes[at];
  if ((flags & ~(USERNAME | PASSWORD)) !== CLEAN_SESSION) return undefined;
  at += 1 + KEEP_ALIVE_BYTES;
  const fields: Uint8Array[] = [];
  for (const isThere of [true, (flags & USERNAME) !== 0, (flags & PASSWORD) !== 0]) {
    if (!isThere) continue;
    const start = at + 2;
    if (start > end) return undefined;
    at = start + ((bytes[at] << 8) | bytes[at + 1]);
    if (at > end) return undefined;
    fields.push(bytes.subarray(start, at));
  }
  if (at !== end) return undefined;
  const clientId = ascii(fields.shift());
  const username = (flags & USERNAME) === 0 ? undefined : ascii(fields.shift());
  const password = (flags & PASSWORD) === 0 ? undefined : fields.shift();
  return clientId === undefined || clientId === '' ? undefined : { clientId, username, password };
}

/** Text of printable ASCII; undefined for any other bytes. */
function ascii(bytes: Uint8Array | undefined): string | undefined {
  if (bytes?.some((byte) => byte < 0x20 || byte > 0x7e) !== false) return undefined;
  return String.fromCharCode(...bytes);
}
