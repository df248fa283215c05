// Every control message, declared once, in the order of the story (docs/wire.md is made from this).
// Key 0 is the wire version, key 1 the kind; a message's own fields start at 2. `request` ties an
// answer to its question: an application reply, as PUBACK means nothing to us (design §4).
// Over 400 lines: one table, which says nothing twice.

import { PATH_CLASSES, RELAY_POLICIES } from '../address.ts';
import { KEY_BYTES, SIGNATURE_BYTES, TAG_BYTES } from '../crypto.ts';
import { END_REASONS, type EndReason } from '../ends.ts';
import { LIMITS } from '../limits.ts';
import { MS_PER_SECOND } from '../time.ts';
import {
  type Infer,
  type Shape,
  type Type,
  ascii,
  bool,
  bytes,
  coded,
  deviceId,
  exactly,
  field,
  ipAddress,
  list,
  name,
  oneOf,
  optional,
  record,
  recordId,
  requestId,
  sessionId,
  uint,
} from './schema.ts';

/** Of every control message; another version is refused whole. */
export const WIRE_VERSION = 1;

/** Bytes that name a sealed channel; random, chosen by the terminal. */
export const CHANNEL_ID_BYTES = 8;
/** The highest sequence of a channel: what fills a nonce (`packetNonce`), 48 bits. */
const SEQUENCE_MAX = 2 ** 48 - 1;
/** Bytes of either handshake message of a channel: an ephemeral key and a tag (Noise KK). */
const SEAL_HANDSHAKE_BYTES = KEY_BYTES + TAG_BYTES;
const SECONDS_MAX = LIMITS.grantSecondsMax;
const BYTES_MAX = LIMITS.grantBytesMax;
// The same codes as in the CLOSE frame of the data plane.
const reason: Type<EndReason> = coded(
  END_REASONS.map((row) => ({ code: row.code, word: row.reason })),
);
const service = ascii(LIMITS.serviceNameMax);

/** A transport address that a terminal may be reached at: 4 or 16 address bytes, port. */
export const candidate = record({
  address: field(0, ipAddress),
  port: field(1, uint(LIMITS.portMax)),
  type: field(2, oneOf('host', 'reflexive', 'relayed')),
});
export type Candidate = Infer<typeof candidate>;

/** A limit in time, in bytes, or both [claim 14, claim 15]; absent = no wish, no limit. */
export const terms = record({
  seconds: optional(0, uint(SECONDS_MAX)),
  bytes: optional(1, uint(BYTES_MAX)),
});
export type Terms = Infer<typeof terms>;

/** One line of an allow-list as it travels [S4003, Fig. 7, claim 8]. */
export const listEntry = record({
  action: field(0, oneOf('allow', 'deny')),
  pattern: field(1, ascii(LIMITS.patternMax)),
  id: optional(2, deviceId),
  services: optional(3, list(service, LIMITS.entryServicesMax)),
  seconds: optional(4, uint(SECONDS_MAX)),
  bytes: optional(5, uint(BYTES_MAX)),
  untilSeconds: optional(6, uint(SECONDS_MAX)),
  extend: optional(7, bool),
  /** The owner is asked at every call; an answer says `approved` if the owner said yes. */
  ask: optional(8, bool),
});
export type ListEntry = Infer<typeof listEntry>;

/** The two public keys of a terminal; the device ID is their hash (design §3). */
export const publicKeys = record({
  ed25519: field(0, bytes(KEY_BYTES)),
  x25519: field(1, bytes(KEY_BYTES)),
});
export type PublicKeys = Infer<typeof publicKeys>;

/** A STUN server; without an address: where the broker is reached. */
export const stunServer = record({
  address: optional(0, ipAddress),
  port: field(1, uint(LIMITS.portMax)),
  /** A second port of the same server, which shows whether a NAT maps by destination. */
  otherPort: optional(2, uint(LIMITS.portMax)),
});
export type StunServer = Infer<typeof stunServer>;

/** A TURN server's transport address. */
export const relayServer = record({
  address: field(0, ipAddress),
  port: field(1, uint(LIMITS.portMax)),
});

/** How one end of one session may use a relay (draft-uberti-behave-turn-rest-00). */
export const relayTerms = record({
  servers: field(0, list(relayServer, LIMITS.meetingServersMax)),
  username: field(1, ascii(LIMITS.relayTextMax)),
  password: field(2, ascii(LIMITS.relayTextMax)),
});
export type RelayTerms = Infer<typeof relayTerms>;

const delayMs = uint(LIMITS.delayMsMax);
const relayPolicy = oneOf(...RELAY_POLICIES);

/** One address record of one terminal, as a query names it [S2006]. */
export const wantedAddress = record({ device: field(0, deviceId), record: field(1, recordId) });

/** One address record as it was found [S3004]. */
export const foundAddress = record({
  device: field(0, deviceId),
  record: field(1, recordId),
  candidates: field(2, list(candidate, LIMITS.candidatesMax)),
  /** Where the terminal's MQTT connection comes from, as the broker sees it. */
  seenAt: optional(3, ipAddress),
  /** Our own STUN server saw it at that address too: nobody else can have made it up. */
  proven: optional(4, bool),
  /** Its NAT shows each destination another port (RFC 4787 §4.1), as our STUN server saw. */
  varies: optional(5, bool),
});
export type FoundAddress = Infer<typeof foundAddress>;

const FIELDS = {
  // --- terminal → broker ------------------------------------------------------------------------
  /** [S1000, S3000, S4000]: this terminal's address record; no candidates = present only. */
  address: {
    record: field(2, recordId),
    candidates: field(3, list(candidate, LIMITS.candidatesMax)),
    pollSeconds: optional(4, uint(SECONDS_MAX)),
    /** The newest membership, so that the connection outlives the one that it began with. */
    membership: optional(5, bytes(1, LIMITS.membershipBytesMax)),
    /** STUN servers are still being asked: ours adds what it sees, or the record comes again. */
    gathering: optional(6, bool),
  },
  // --- terminal ↔ manager, the seal (`control/seal.ts`) ------------------------------------------
  /** terminal → manager: first message of the Noise handshake that makes a sealed channel. */
  hello: {
    request: field(2, requestId),
    channel: field(3, bytes(CHANNEL_ID_BYTES)),
    noise: field(4, bytes(SEAL_HANDSHAKE_BYTES)),
  },
  /** manager → terminal: the second. */
  welcome: {
    request: field(2, requestId),
    channel: field(3, bytes(CHANNEL_ID_BYTES)),
    noise: field(4, bytes(SEAL_HANDSHAKE_BYTES)),
  },
  /**
   * Either way: another message, encrypted and authenticated under the channel's key for this
   * direction; `sequence` is the nonce and never repeats.
   */
  sealed: {
    channel: field(2, bytes(CHANNEL_ID_BYTES)),
    sequence: field(3, uint(SEQUENCE_MAX)),
    box: field(4, bytes(TAG_BYTES + 1, LIMITS.messageBytesMax + TAG_BYTES)),
  },
  /**
   * manager → terminal, also inside a trigger: there is no channel; say hello. Not authenticated:
   * it makes a terminal do nothing but shake hands once more.
   */
  reseal: { request: field(2, requestId) },
  // --- terminal → manager, sealed ----------------------------------------------------------------
  /** [S1001, S2000, S4001]: name and device ID; `boot` is new at every start of the terminal. */
  register: {
    request: field(2, requestId),
    name: field(3, name),
    boot: field(4, requestId),
    pollSeconds: optional(5, uint(SECONDS_MAX)),
    capabilities: field(6, list(ascii(32), 16)),
  },
  /** [S1003, S2001, Fig. 3, claim 2]: own name and destination name. */
  connect: {
    request: field(2, requestId),
    callerName: field(3, name),
    calleeName: field(4, name),
    service: field(5, service),
    want: field(6, terms),
    waitMs: field(7, uint(LIMITS.waitMsMax)),
    record: field(8, recordId),
    /** The caller's, over `requestStatement` of these fields (consent/statements.ts). */
    signature: field(9, bytes(SIGNATURE_BYTES)),
    /** One way to the manager, as the caller measured it; only ever a reason to begin later. */
    delayMs: optional(10, delayMs),
    relay: optional(11, relayPolicy),
    /** The ephemeral key of this call's handshake (ADR 0021); a wrong one only makes no talk. */
    share: optional(12, bytes(KEY_BYTES)),
  },
  /** [S4003, S2003]: the allow-list or the verdict, in answer to a communication request. */
  allowList: {
    request: field(2, requestId),
    mode: field(3, oneOf('verdict', 'list')),
    version: field(4, ascii(64)),
    entries: field(5, list(listEntry, LIMITS.listEntriesMax)),
    reduced: field(6, bool),
    record: optional(7, recordId),
    /** Made by this boot of the callee; the address notice has to echo it. */
    nonce: field(8, requestId),
    /** The owner was asked and said yes: counts for an entry with `ask`. */
    approved: field(9, bool),
    /** The callee's, over `verdictStatement` of these fields (consent/statements.ts). */
    signature: field(10, bytes(SIGNATURE_BYTES)),
    /** As in `connect`. */
    delayMs: optional(11, delayMs),
    relay: optional(12, relayPolicy),
    share: optional(13, bytes(KEY_BYTES)),
  },
  /** [S5004, claim 4]: ask for a later expiry; `want` holds cumulative totals. */
  extend: {
    request: field(2, requestId),
    session: field(3, sessionId),
    revision: field(4, uint(LIMITS.revisionsMax)),
    want: field(5, terms),
    /** The asker's, over `extensionStatement` of these fields. */
    signature: field(6, bytes(SIGNATURE_BYTES)),
  },
  /** [S5007, S6000, claim 5]: an end and its counts; kept on disk until `ended` comes back. */
  endNotice: {
    request: field(2, requestId),
    session: field(3, sessionId),
    reason: field(4, reason),
    sentBytes: field(5, uint(Number.MAX_SAFE_INTEGER)),
    receivedBytes: field(6, uint(Number.MAX_SAFE_INTEGER)),
    lostBytes: field(7, uint(Number.MAX_SAFE_INTEGER)),
    wireBytes: field(8, uint(Number.MAX_SAFE_INTEGER)),
    durationMs: field(9, uint(Number.MAX_SAFE_INTEGER)),
    /** Which way the talk took at its end; absent: it never found one. */
    path: optional(10, oneOf(...PATH_CLASSES)),
    /** Packets of the many-socket search; absent: there was none. */
    probes: optional(11, uint(LIMITS.probesMax)),
  },
  /**
   * Where this end of a running talk can be reached now: another socket, another network, a relay.
   * For the peer, within the same grant; `generation` grows with each.
   */
  candidates: {
    request: field(2, requestId),
    session: field(3, sessionId),
    generation: field(4, uint(LIMITS.generationsMax)),
    candidates: field(5, list(candidate, LIMITS.candidatesMax)),
    varies: optional(6, bool),
    /** A way that there was is lost: a re-introduction, which the manager's log shows. */
    moved: optional(7, bool),
  },
  // --- manager → broker -------------------------------------------------------------------------
  /**
   * [S2002, S3001, S6005]: hand `payload` to the terminal of the topic within `deadlineMs`.
   * The payload is a message for the terminal (`ask`, `askExtend`, `endRequest`) that the broker
   * does not look into: names are none of its business.
   */
  trigger: {
    request: field(2, requestId),
    deadlineMs: field(3, uint(LIMITS.waitMsMax)),
    payload: field(4, bytes(1, LIMITS.payloadBytesMax)),
  },
  /** [S2006, S3003]: only ever sent after the verdict was yes. */
  addressQuery: {
    request: field(2, requestId),
    wanted: field(3, list(wantedAddress, 2)),
    waitMs: field(4, uint(LIMITS.waitMsMax)),
  },
  /** Which terminals are revoked: `statement` is signed (identity/revocation.ts), every 2 s. */
  revoked: {
    statement: field(2, bytes(1, LIMITS.revocationBytesMax)),
    signature: field(3, bytes(SIGNATURE_BYTES)),
  },
  // --- broker → manager -------------------------------------------------------------------------
  /** The state of a trigger: handed over, waiting for a poll, past its deadline. */
  triggerState: {
    request: field(2, requestId),
    state: field(3, oneOf('handed', 'waiting', 'expired')),
  },
  /** [S3004, S3005]: the records found; one that is missing was not recorded in time. */
  addressAnswer: {
    request: field(2, requestId),
    found: field(3, list(foundAddress, 2)),
  },
  // --- broker → terminal ------------------------------------------------------------------------
  /** [S3002, S4002]: a communication request (or an end request), wrapped. */
  call: {
    request: field(2, requestId),
    deadlineMs: field(3, uint(LIMITS.waitMsMax)),
    payload: field(4, bytes(1, LIMITS.payloadBytesMax)),
  },
  /** Answer to `address`. */
  addressRecorded: { record: field(2, recordId) },
  /** Answer to a poll [53]: so many requests were handed over; none left waiting. */
  polled: { handed: field(2, uint(LIMITS.triggersPerDeviceMax)) },
  // --- inside trigger and call: manager → terminal -----------------------------------------------
  /**
   * "Send your allow-list": who asks, for what [S2002, S4002]; with the caller's own signed
   * request (`nonce`: its `connect.request`), so that nobody asks in another's name.
   */
  ask: {
    request: field(2, requestId),
    callerName: field(3, name),
    callerId: field(4, deviceId),
    service: field(5, service),
    want: field(6, terms),
    nonce: field(7, requestId),
    callerKeys: field(8, publicKeys),
    signature: field(9, bytes(SIGNATURE_BYTES)),
    /** How long the caller still waits: the deadline beside it is only the broker's word. */
    waitMs: field(10, uint(LIMITS.waitMsMax)),
  },
  /** The same question for a later expiry of a running talk. */
  askExtend: {
    request: field(2, requestId),
    session: field(3, sessionId),
    callerName: field(4, name),
    callerId: field(5, deviceId),
    service: field(6, service),
    want: field(7, terms),
  },
  /** [S5001, S6005, claim 6, claim 13, claim 18]: end this talk at once. */
  endRequest: {
    request: field(2, requestId),
    session: field(3, sessionId),
    reason: field(4, reason),
  },
  // --- manager → terminal -----------------------------------------------------------------------
  /** Answer to `register`. */
  registered: {
    request: field(2, requestId),
    name: field(3, name),
    membership: field(4, bytes(1, LIMITS.membershipBytesMax)),
    /** The manager's time, Unix milliseconds: a terminal without a clock takes it. */
    time: field(5, uint(LIMITS.unixSecondsMax * MS_PER_SECOND)),
    /** The server's TLS keys, signed (identity/server-keys.ts); absent where there is no TLS. */
    serverKeys: optional(6, bytes(1, LIMITS.serverKeysBytesMax)),
    /** Who shows a terminal its own address (RFC 8489). */
    stun: optional(7, list(stunServer, LIMITS.meetingServersMax)),
  },
  /** A request that was refused or failed [S2010]; for `connect` the code is always `refused`. */
  refusal: {
    request: field(2, requestId),
    code: field(
      3,
      oneOf('refused', 'name-taken', 'not-enrolled', 'busy', 'no-session', 'disk', 'cloned'),
    ),
    /** Only where the operator lets reasons out (`--explain`). */
    why: optional(4, oneOf('denied', 'unknown', 'away', 'limited', 'server')),
  },
  /**
   * [S2008, S2009, S1004, S4004, Fig. 4]: `request` echoes the nonce that this boot of this
   * terminal put into its request or its verdict; `grant` is the same bytes for both ends and the
   * prologue of their handshake.
   */
  addressNotice: {
    request: field(2, requestId),
    grant: field(3, bytes(1, LIMITS.grantMessageBytesMax)),
    signature: field(4, bytes(SIGNATURE_BYTES)),
    key: field(5, bytes(KEY_BYTES)),
    peerKeys: field(6, publicKeys),
    peerCandidates: field(7, list(candidate, LIMITS.candidatesMax)),
    /** To the caller: what the callee signed (`verdictStatement`); its hash stands in the grant. */
    verdict: optional(8, bytes(1, LIMITS.statementBytesMax)),
    verdictSignature: optional(9, bytes(SIGNATURE_BYTES)),
    /** The peer's NAT shows each destination another port. */
    peerVaries: optional(10, bool),
    /** The go: milliseconds from here to the common start, the shorter way's share. */
    startMs: optional(11, uint(LIMITS.startMsMax)),
    /** The many-socket search may be used on this address of the peer, which is proven. */
    searchAt: optional(12, ipAddress),
    relay: optional(13, relayTerms),
    /** The `share` of the other end. */
    peerShare: optional(14, bytes(KEY_BYTES)),
  },
  /** [S6003, S5005, claim 11]: a new expiry, told to both ends; `expiry` is signed as it stands. */
  newExpiry: {
    request: field(2, requestId),
    expiry: field(3, bytes(1, LIMITS.grantMessageBytesMax)),
    signature: field(4, bytes(SIGNATURE_BYTES)),
  },
  /** Answer to `endNotice`: it is in the log and may be forgotten. */
  ended: {
    request: field(2, requestId),
    session: field(3, sessionId),
    /** Where the log stood then, signed (identity/receipt.ts): shows a tail that is cut later. */
    receipt: optional(4, bytes(1, LIMITS.receiptBytesMax)),
  },
  /** Answer to `candidates`: told to the peer, or held back. */
  candidatesTold: {
    request: field(2, requestId),
    /** New credentials, where those of the notice end before the grant does. */
    relay: optional(3, relayTerms),
  },
  /** What `candidates` of the peer said, as far as this end is told. */
  peerCandidates: {
    session: field(2, sessionId),
    generation: field(3, uint(LIMITS.generationsMax)),
    candidates: field(4, list(candidate, LIMITS.candidatesMax)),
    varies: optional(5, bool),
  },
} as const;

type Kinds = typeof FIELDS;
/** The word for a message's kind, as code says it; its number is in `KIND_NUMBERS`. */
export type Kind = keyof Kinds;

/** Any control message, discriminated by `kind`. */
export type Message = { [K in Kind]: { readonly kind: K } & Shape<Kinds[K]> }[Kind];
/** One kind of message. */
export type MessageOf<K extends Kind> = Extract<Message, { kind: K }>;

/** Kind → number on the wire. Append, never reorder or reuse. */
export const KIND_NUMBERS: Readonly<Record<Kind, number>> = {
  address: 1,
  register: 2,
  connect: 3,
  allowList: 4,
  extend: 5,
  endNotice: 6,
  trigger: 7,
  addressQuery: 8,
  triggerState: 9,
  addressAnswer: 10,
  call: 11,
  addressRecorded: 12,
  polled: 13,
  ask: 14,
  askExtend: 15,
  endRequest: 16,
  registered: 17,
  refusal: 18,
  addressNotice: 19,
  newExpiry: 20,
  ended: 21,
  hello: 22,
  welcome: 23,
  sealed: 24,
  reseal: 25,
  revoked: 26,
  candidates: 27,
  candidatesTold: 28,
  peerCandidates: 29,
};

/** Kind → how it is read and written. */
export const MESSAGE_TYPES: Readonly<Record<Kind, Type<Record<string, unknown>>>> =
  Object.fromEntries(
    Object.entries(FIELDS).map(([kind, fields]) => [
      kind,
      record({
        wireVersion: field(0, exactly(WIRE_VERSION)),
        kindNumber: field(1, exactly(KIND_NUMBERS[kind as Kind])),
        ...fields,
      }),
    ]),
  ) as unknown as Record<Kind, Type<Record<string, unknown>>>;
