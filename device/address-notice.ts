// What both ends check of an address notice [S1004, S4004] before they believe a word of it: the
// manager signed the grant, it names this terminal in the role it plays, and the peer's keys are
// the keys of the peer's device ID; and at the caller, that the callee itself answered this very
// request. What was asked for is checked where it was asked.

import { sameBytes } from '../protocol/bytes.ts';
import { decodeVerdict, isVerdictOf } from '../protocol/consent/statements.ts';
import type { MessageOf, RelayTerms } from '../protocol/control/messages.ts';
import { addressText } from '../protocol/address.ts';
import { type CryptoSuite, KEY_BYTES, type SigningKey } from '../protocol/crypto.ts';
import type { Role } from '../protocol/data/connection-types.ts';
import { type Expiry, type Grant, decodeExpiry, decodeGrant } from '../protocol/grant.ts';
import { deviceIdOf } from '../protocol/identity/device-id.ts';
import { verifySigned } from '../protocol/identity/signed.ts';
import type { DeviceId, Name } from '../protocol/ids.ts';
import { type PeerPath, candidatePaths } from './candidates.ts';
import type { CallId, SocketId } from './terminal-types.ts';

/** Who this terminal is, and whose word it takes. */
export interface Self {
  readonly id: DeviceId;
  readonly name: Name;
  /** The manager's Ed25519 key, 32 bytes. */
  readonly managerKey: Uint8Array;
  /** This terminal's Ed25519 key. */
  readonly signingKey: SigningKey;
  readonly suite: CryptoSuite;
}

/** An accepted notice: everything that a talk begins with. */
export interface Introduction {
  readonly role: Role;
  readonly grant: Grant;
  /** As signed: the prologue of the handshake. */
  readonly grantBytes: Uint8Array;
  /** The session key, 32 bytes [claim 7]. */
  readonly key: Uint8Array;
  readonly peer: { readonly name: Name; readonly id: DeviceId };
  /** The peer's X25519 key; its hash is the peer's ID. */
  readonly peerKey: Uint8Array;
  readonly paths: readonly PeerPath[];
  /** Milliseconds to the common start. */
  readonly startMs: number;
  readonly peerVaries: boolean;
  /** Where the many-socket search may look; undefined: nowhere. */
  readonly searchAt: string | undefined;
  readonly relay: RelayTerms | undefined;
  /** The peer's ephemeral key, 32 bytes; undefined: the handshake is made on the path. */
  readonly peerShare: Uint8Array | undefined;
  readonly socket: SocketId;
  readonly call: CallId | undefined;
  /** Ask for more at 70 % [¶0036]. */
  readonly extend: boolean;
}

/** What became of a notice: a talk may begin, or (`voided`) a session was granted for nothing. */
export type NoticeOutcome =
  | { readonly introduced: Introduction }
  | { readonly voided: Grant; readonly reason: 'local' | 'protocol-error' };

/** The grant of a notice, or undefined if it is none or the manager did not sign it. */
export function readGrant(self: Self, message: MessageOf<'addressNotice'>): Grant | undefined {
  const { suite, managerKey } = self;
  if (!verifySigned(suite, managerKey, 'grant', message.grant, message.signature)) return undefined;
  return decodeGrant(message.grant);
}

/** A new expiry, or undefined if it is none or the manager did not sign it [S5005]. */
export function readExpiry(
  self: Self,
  encoded: Uint8Array,
  signature: Uint8Array,
): Expiry | undefined {
  if (!verifySigned(self.suite, self.managerKey, 'expiry', encoded, signature)) return undefined;
  return decodeExpiry(encoded);
}

/**
 * Reads a signed grant as the introduction of this terminal in this role, or undefined if it names
 * somebody else, if the peer's keys are not those of the peer's ID, or if there is no way to it.
 */
export function introduction(
  self: Self,
  message: MessageOf<'addressNotice'>,
  grant: Grant,
  own: {
    readonly role: Role;
    readonly socket: SocketId;
    readonly call: CallId | undefined;
    readonly extend: boolean;
    readonly isOnLoopback: boolean;
  },
): Introduction | undefined {
  const caller = { name: grant.callerName, id: grant.callerId };
  const callee = { name: grant.calleeName, id: grant.calleeId };
  const [me, peer] = own.role === 'caller' ? [caller, callee] : [callee, caller];
  if (me.id !== self.id || me.name !== self.name || peer.id === self.id) return undefined;
  if (deviceIdOf(self.suite, message.peerKeys) !== peer.id) return undefined;
  if (message.key.length !== KEY_BYTES) return undefined;
  const { role, socket, call, extend, isOnLoopback } = own;
  const paths = candidatePaths(message.peerCandidates, isOnLoopback);
  return {
    role,
    socket,
    call,
    extend,
    grant,
    grantBytes: message.grant,
    key: message.key,
    peer,
    peerKey: message.peerKeys.x25519,
    paths,
    startMs: message.startMs ?? 0,
    peerVaries: message.peerVaries ?? false,
    searchAt: searchHost(message.searchAt, paths),
    relay: message.relay,
    peerShare: message.peerShare,
  };
}

/** Where to search, if it is an address of the peer's that may be sent to: whoever says so. */
function searchHost(
  address: Uint8Array | undefined,
  paths: readonly PeerPath[],
): string | undefined {
  const host = address && addressText(address);
  return paths.some(({ path }) => path.host === host) ? host : undefined;
}

/**
 * Whether the callee of a grant itself signed an answer to this terminal's request, and the grant
 * rests on that answer (design §3, Signed consent). `request`: the hash of what was asked.
 */
export function isConsented(
  self: Self,
  message: MessageOf<'addressNotice'>,
  grant: Grant,
  request: Uint8Array,
): boolean {
  const { verdict: encoded, verdictSignature: signature, peerKeys } = message;
  if (encoded === undefined || signature === undefined) return false;
  const verdict = decodeVerdict(encoded);
  return (
    verdict !== undefined &&
    verdict.calleeId === grant.calleeId &&
    verdict.callerId === self.id &&
    sameBytes(verdict.request, request) &&
    sameBytes(grant.verdict, self.suite.blake2s(encoded)) &&
    isVerdictOf(self.suite, peerKeys.ed25519, encoded, signature)
  );
}

/**
 * Whether a granted limit is at most the one agreed to; `agreed` undefined: no limit was stated.
 */
export const isWithin = (granted: number | undefined, agreed: number | undefined): boolean =>
  agreed === undefined || (granted !== undefined && granted <= agreed);
