// Enrolment, over HTTP on the --http-port (design §3): the terminal shows the ticket's secret and
// proves both the keys it brings and that it means this very server; the manager answers, signed by
// the key that the ticket names, with the name and the first membership. Renewal needs no ticket.
//   POST enrolRequest → enrolResponse        POST membershipRequest → membershipResponse

import { sameBytes } from '../bytes.ts';
import { decodeCbor, encodeCbor } from '../control/cbor.ts';
import { publicKeys } from '../control/messages.ts';
import {
  type Infer,
  bytes,
  exactly,
  field,
  name,
  optional,
  record,
  url,
} from '../control/schema.ts';
import { type CryptoSuite, KEY_BYTES, type SigningKey } from '../crypto.ts';
import { LIMITS } from '../limits.ts';
import { openMembership } from './membership.ts';
import { openWrapped, unwrap, verifySigned, wrap } from './signed.ts';
import { TICKET_SECRET_BYTES } from './ticket.ts';

const VERSION = 1;

/** The body of a request to be enrolled; `url`: the server it is meant for, as the ticket says. */
export const enrolRequest = record({
  version: field(0, exactly(VERSION)),
  url: field(1, url),
  secret: field(2, bytes(TICKET_SECRET_BYTES)),
  keys: field(3, publicKeys),
  name: optional(4, name),
});
type EnrolRequest = Omit<Infer<typeof enrolRequest>, 'version'>;

/** The body of the manager's answer. */
export const enrolResponse = record({
  version: field(0, exactly(VERSION)),
  name: field(1, name),
  membership: field(2, bytes(1, LIMITS.membershipBytesMax)),
  managerKey: field(3, bytes(KEY_BYTES)),
  brokerUrl: field(4, url),
  /** The manager's X25519 key: terminals seal what they say to it. */
  agreementKey: field(5, bytes(KEY_BYTES)),
  /** As in `registered`: the server's TLS keys, signed. */
  serverKeys: optional(6, bytes(1, LIMITS.serverKeysBytesMax)),
});
type EnrolResponse = Omit<Infer<typeof enrolResponse>, 'version'>;

/** Bytes of what tells one request for a membership from the others. */
export const MEMBERSHIP_NONCE_BYTES = 16;

/**
 * The body of a request for a new membership. It carries no time: a terminal without a clock asks
 * it to learn the time, and whoever repeats it gets nothing that is of use without the key.
 */
export const membershipRequest = record({
  version: field(0, exactly(VERSION)),
  url: field(1, url),
  keys: field(2, publicKeys),
  nonce: field(3, bytes(MEMBERSHIP_NONCE_BYTES)),
});
type MembershipRequest = Omit<Infer<typeof membershipRequest>, 'version'>;

/**
 * The body of the answer: a membership made for this very request. An older one, shown again by
 * whoever stands in the server's place, would turn back the clock of a terminal that takes the time
 * from it.
 */
export const membershipResponse = record({
  version: field(0, exactly(VERSION)),
  nonce: field(1, bytes(MEMBERSHIP_NONCE_BYTES)),
  membership: field(2, bytes(1, LIMITS.membershipBytesMax)),
});

/** Signs a request to be enrolled with the terminal's own key. */
export function makeEnrolRequest(key: SigningKey, request: EnrolRequest): Uint8Array {
  return wrap(key, 'enrol', encodeCbor(enrolRequest, { version: VERSION, ...request }));
}

/** Reads a request that is signed by the key it brings; whether `url` is ours is the caller's. */
export function openEnrolRequest(
  suite: CryptoSuite,
  encoded: Uint8Array,
): EnrolRequest | undefined {
  const parts = unwrap(encoded);
  const request = parts === undefined ? undefined : decodeCbor(enrolRequest, parts.body);
  if (parts === undefined || request === undefined) return undefined;
  const { ed25519 } = request.keys;
  if (!verifySigned(suite, ed25519, 'enrol', parts.body, parts.signature)) return undefined;
  return withoutVersion(request);
}

/** Signs the manager's answer; `managerKey` in it is the public half of `key`. */
export function makeEnrolResponse(
  key: SigningKey,
  response: Omit<EnrolResponse, 'managerKey'>,
): Uint8Array {
  const body = { version: VERSION, managerKey: key.publicKey, ...response };
  return wrap(key, 'enrolled', encodeCbor(enrolResponse, body));
}

/**
 * Reads an answer that the ticket's manager signed, with a membership that the same manager signed
 * for exactly this terminal's keys; undefined for anything else.
 */
export function openEnrolResponse(
  suite: CryptoSuite,
  encoded: Uint8Array,
  expected: { readonly managerKey: Uint8Array; readonly ed25519: Uint8Array },
): EnrolResponse | undefined {
  const parts = unwrap(encoded);
  if (parts === undefined) return undefined;
  const { managerKey } = expected;
  if (!verifySigned(suite, managerKey, 'enrolled', parts.body, parts.signature)) return undefined;
  const response = decodeCbor(enrolResponse, parts.body);
  if (response === undefined) return undefined;
  if (!sameBytes(response.managerKey, managerKey)) return undefined;
  const membership = openMembership(suite, managerKey, response.membership);
  if (membership === undefined) return undefined;
  if (!sameBytes(membership.keys.ed25519, expected.ed25519)) return undefined;
  return withoutVersion(response);
}

/** Signs a request for a new membership with the terminal's own key. */
export function makeMembershipRequest(key: SigningKey, request: MembershipRequest): Uint8Array {
  const body = { version: VERSION, ...request };
  return wrap(key, 'membership-request', encodeCbor(membershipRequest, body));
}

/** Reads a request for a new membership that is signed by the keys it names. */
export function openMembershipRequest(
  suite: CryptoSuite,
  encoded: Uint8Array,
): MembershipRequest | undefined {
  const parts = unwrap(encoded);
  const request = parts === undefined ? undefined : decodeCbor(membershipRequest, parts.body);
  if (parts === undefined || request === undefined) return undefined;
  const { ed25519 } = request.keys;
  const label = 'membership-request';
  if (!verifySigned(suite, ed25519, label, parts.body, parts.signature)) return undefined;
  return withoutVersion(request);
}

/** Signs the manager's answer to the request with this nonce. */
export function makeMembershipResponse(
  key: SigningKey,
  answer: { readonly nonce: Uint8Array; readonly membership: Uint8Array },
): Uint8Array {
  const body = encodeCbor(membershipResponse, { version: VERSION, ...answer });
  return wrap(key, 'membership-response', body);
}

/** The membership in an answer that this manager made to the request with this nonce. */
export function openMembershipResponse(
  suite: CryptoSuite,
  encoded: Uint8Array,
  expected: { readonly managerKey: Uint8Array; readonly nonce: Uint8Array },
): Uint8Array | undefined {
  const { managerKey, nonce } = expected;
  const answer = openWrapped(suite, encoded, {
    publicKey: managerKey,
    label: 'membership-response',
    type: membershipResponse,
    bytesMax: LIMITS.signedBodyBytesMax,
  });
  return answer !== undefined && sameBytes(answer.nonce, nonce) ? answer.membership : undefined;
}

function withoutVersion<T extends { readonly version: number }>(whole: T): Omit<T, 'version'> {
  const { version: _, ...rest } = whole;
  return rest;
}
