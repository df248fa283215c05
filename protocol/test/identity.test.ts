// Device IDs, memberships, login tokens, tickets, enrolment, and the manager's statements about
// server keys, revocations and its log: what is made is read back, and what is changed in a single
// byte, meant for somebody else or too old is not. Long because all share their keys.

import fc from 'fast-check';
import t from 'tap';
import { dose } from './dose.ts';
import { base32 } from '../base32.ts';
import { encodeCbor } from '../control/cbor.ts';
import { encodeMessage } from '../control/codec.ts';
import type { PublicKeys } from '../control/messages.ts';
import type { DhKey, SigningKey } from '../crypto.ts';
import type { DeviceId, ManagerId, Name } from '../ids.ts';
import { isDeviceId } from '../ids.ts';
import { deviceIdOf } from '../identity/device-id.ts';
import {
  makeEnrolRequest,
  makeEnrolResponse,
  MEMBERSHIP_NONCE_BYTES,
  makeMembershipRequest,
  makeMembershipResponse,
  openEnrolRequest,
  openEnrolResponse,
  openMembershipRequest,
  openMembershipResponse,
} from '../identity/enrolment.ts';
import { makeMembership, openMembership } from '../identity/membership.ts';
import { makeReceipt, openReceipt } from '../identity/receipt.ts';
import { makeRevocationList, openRevocationList } from '../identity/revocation.ts';
import { PIN_BYTES, makeServerKeys, openServerKeys } from '../identity/server-keys.ts';
import { signed, verifySigned } from '../identity/signed.ts';
import { formatTicket, parseTicket, ticket, ticketHash } from '../identity/ticket.ts';
import {
  NO_PIN,
  makeManagerToken,
  makeToken,
  openManagerToken,
  openToken,
} from '../identity/token.ts';
import { nodeSuite as suite } from '../io/node-crypto.ts';
import { LIMITS } from '../limits.ts';
import { randomBytes, seededRng } from '../random.ts';
import { mutated } from './arbitraries.ts';
import { hex } from './vectors.ts';

const FUZZ = { numRuns: dose(2_000, 50) };
const NOW = 1_800_000_000;
const DAY = LIMITS.membershipSeconds;
const URL = 'http://127.0.0.1:8080';
const NAME = 'TERM1' as Name;
const rng = seededRng(7);

interface Party {
  readonly signing: SigningKey;
  readonly dh: DhKey;
  readonly keys: PublicKeys;
  readonly id: DeviceId;
}

function party(): Party {
  const signing = suite.signingKey(randomBytes(rng, 32));
  const dh = suite.dhKey(randomBytes(rng, 32));
  const keys = { ed25519: signing.publicKey, x25519: dh.publicKey };
  return { signing, dh, keys, id: deviceIdOf(suite, keys) };
}

const manager = suite.signingKey(randomBytes(rng, 32));
const stranger = suite.signingKey(randomBytes(rng, 32));
const terminal = party();
const other = party();
const statement = {
  device: terminal.id,
  keys: terminal.keys,
  issuedAt: NOW,
  expiresAt: NOW + DAY,
};
const membership = makeMembership(manager, statement);
const nonce = new Uint8Array(16).fill(9);
const PIN: Uint8Array = new Uint8Array(PIN_BYTES).fill(5);
const tokenBody = {
  device: terminal.id,
  audience: manager.publicKey,
  issuedAt: NOW,
  nonce,
  membership,
  server: PIN,
};
const token = makeToken(terminal.signing, tokenBody);
const check = { nowSeconds: NOW, clientId: terminal.id, server: PIN };

/** Whether a copy with any one byte changed is still accepted. */
function anyFlipAccepted(encoded: Uint8Array, accepts: (bytes: Uint8Array) => boolean): boolean {
  return encoded.some((_, at) => {
    const copy = Uint8Array.from(encoded);
    copy[at] ^= 1 << (at & 7);
    return accepts(copy);
  });
}

t.test('S1000: a device ID is the hash of both keys', async (t) => {
  t.ok(isDeviceId(terminal.id));
  const message = Buffer.concat([
    Buffer.from('nakodo/1/id'),
    terminal.keys.ed25519,
    terminal.keys.x25519,
  ]);
  t.equal(terminal.id, base32(suite.blake2s(message).subarray(0, 20)));
  t.not(deviceIdOf(suite, { ...terminal.keys, x25519: other.keys.x25519 }), terminal.id);
  t.not(deviceIdOf(suite, { ...terminal.keys, ed25519: other.keys.ed25519 }), terminal.id);
});

t.test('a signature counts for its own purpose, key and body only', async (t) => {
  const body = Uint8Array.of(1, 2, 3);
  const signature = signed(manager, 'grant', body);
  const { publicKey } = manager;
  t.equal(verifySigned(suite, publicKey, 'grant', body, signature), true);
  t.equal(verifySigned(suite, publicKey, 'expiry', body, signature), false);
  t.equal(verifySigned(suite, stranger.publicKey, 'grant', body, signature), false);
  t.equal(verifySigned(suite, publicKey, 'grant', Uint8Array.of(1, 2), signature), false);
  t.equal(verifySigned(suite, publicKey, 'grant', body, new Uint8Array(64)), false);
});

t.test('S1001: a membership says what the manager signed, and nothing else', async (t) => {
  const opened = openMembership(suite, manager.publicKey, membership);
  t.match(opened, { device: terminal.id, issuedAt: NOW, expiresAt: NOW + DAY });
  t.equal(openMembership(suite, stranger.publicKey, membership), undefined, 'another manager');
  const lie = makeMembership(manager, { ...statement, device: other.id });
  t.equal(openMembership(suite, manager.publicKey, lie), undefined, 'an ID of other keys');
  const accepts = (bytes: Uint8Array): boolean =>
    openMembership(suite, manager.publicKey, bytes) !== undefined;
  t.equal(anyFlipAccepted(membership, accepts), false);
  t.equal(accepts(membership), true);
  t.ok(membership.length < LIMITS.membershipBytesMax);
});

t.test('S3000: a login token proves the terminal of its client ID', async (t) => {
  const proven = openToken(suite, manager.publicKey, token, check);
  t.match(proven, { device: terminal.id, nonce });
  t.ok(token.length < 1_536, `${token.length} bytes`);
});

t.test('S3000: a login token for somebody or something else is refused by name', async (t) => {
  const open = (bytes: Uint8Array, changed: Partial<typeof check> = {}): unknown =>
    openToken(suite, manager.publicKey, bytes, { ...check, ...changed });
  const make = (changed: Partial<typeof tokenBody>, key = terminal.signing): Uint8Array =>
    makeToken(key, { ...tokenBody, ...changed });
  t.equal(open(token, { clientId: other.id as typeof check.clientId }), 'client-id');
  t.equal(openToken(suite, stranger.publicKey, token, check), 'audience');
  t.equal(open(make({ audience: stranger.publicKey })), 'audience');
  t.equal(open(token, { server: NO_PIN }), 'audience', 'at a server with another TLS key');
  t.equal(open(make({ server: NO_PIN })), 'audience', 'made for a connection without TLS');
  t.equal(open(make({}, other.signing)), 'signature', 'signed by another terminal');
  t.equal(open(make({ device: other.id })), 'signature', 'names another terminal');
  const forged = makeMembership(stranger, statement);
  t.equal(open(make({ membership: forged })), 'signature', 'a membership of another manager');
  const life = LIMITS.tokenSeconds + LIMITS.clockSkewSeconds;
  t.match(open(token, { nowSeconds: NOW + life }), { device: terminal.id });
  t.equal(open(token, { nowSeconds: NOW + life + 1 }), 'expired');
  t.match(open(token, { nowSeconds: NOW - LIMITS.clockSkewSeconds }), { device: terminal.id });
  t.equal(open(token, { nowSeconds: NOW - LIMITS.clockSkewSeconds - 1 }), 'expired', 'not yet');
  const late = NOW + DAY + LIMITS.clockSkewSeconds;
  t.equal(open(make({ issuedAt: late }), { nowSeconds: late }), 'membership-expired');
  t.match(open(make({ issuedAt: late - 1 }), { nowSeconds: late - 1 }), { device: terminal.id });
  t.equal(open(Uint8Array.of()), 'malformed');
  t.equal(open(membership), 'malformed', 'a membership is no token');
});

t.test('the manager logs in with its own key, and nobody else as a manager', async (t) => {
  const client = `manager-${'m'.repeat(32)}` as ManagerId;
  const own = { nowSeconds: NOW, clientId: client as string, server: PIN };
  const make = (key: SigningKey): Uint8Array =>
    makeManagerToken(key, { client, issuedAt: NOW, nonce });
  const open = (bytes: Uint8Array, changed: Partial<typeof own> = {}): unknown =>
    openManagerToken(suite, manager.publicKey, bytes, { ...own, ...changed });
  t.same(open(make(manager)), { client, nonce });
  t.equal(open(make(stranger)), 'audience');
  t.equal(open(make({ ...stranger, publicKey: manager.publicKey })), 'signature');
  t.equal(open(make(manager), { clientId: `manager-${'n'.repeat(32)}` }), 'client-id');
  t.equal(open(make(manager), { nowSeconds: NOW + 10_000 }), 'expired');
  t.equal(open(token), 'malformed', "a terminal's token is none of a manager");
  t.equal(openToken(suite, manager.publicKey, make(manager), check), 'malformed');
});

const agreement = suite.dhKey(randomBytes(rng, 32)).publicKey;
const inside = {
  url: URL,
  managerKey: manager.publicKey,
  agreementKey: agreement,
  secret: randomBytes(rng, 20),
  expiresAt: NOW + 3_600,
  name: NAME,
};

t.test(
  'a ticket is read back from its text, also when copied with blanks and capitals',
  async (t) => {
    const text = formatTicket(inside);
    t.match(text, /^nakodo1[a-z2-7]+$/);
    t.same(parseTicket(text), inside);
    t.same(parseTicket(`  ${text.slice(0, 50)}\n ${text.slice(50).toUpperCase()}\n`), inside);
    for (const other of [
      { ...inside, name: undefined },
      { ...inside, pin: PIN },
    ])
      t.same(parseTicket(formatTicket(other)), other);
  },
);

t.test('what is not a ticket of ours is told apart', async (t) => {
  const text = formatTicket(inside);
  t.equal(parseTicket(''), 'not-a-ticket');
  t.equal(parseTicket('hello'), 'not-a-ticket');
  t.equal(parseTicket('x'.repeat(100_000)), 'not-a-ticket');
  t.equal(parseTicket(text.slice(0, -5)), 'ticket-damaged');
  t.equal(parseTicket(`${text}a`), 'ticket-damaged');
  t.equal(parseTicket(text.replace('nakodo1', 'nakodo2')), 'ticket-version');
  const newer = encodeCbor(ticket, { version: 3, ...inside });
  t.equal(parseTicket(`nakodo1${base32(newer)}`), 'ticket-version');
});

t.test('the stored hash of a ticket is of its secret alone', async (t) => {
  const again = parseTicket(formatTicket({ ...inside, url: 'http://other' }));
  if (typeof again === 'string') return t.fail(again);
  t.equal(hex(ticketHash(suite, inside.secret)), hex(ticketHash(suite, again.secret)));
  t.not(hex(ticketHash(suite, inside.secret)), hex(ticketHash(suite, new Uint8Array(20))));
  t.not(hex(ticketHash(suite, inside.secret)), hex(suite.blake2s(inside.secret)));
});

const request = { url: URL, secret: inside.secret, keys: terminal.keys, name: NAME };
const enrol = makeEnrolRequest(terminal.signing, request);
const answer = {
  name: NAME,
  membership,
  brokerUrl: 'mqtts://127.0.0.1:8883',
  agreementKey: agreement,
  serverKeys: makeServerKeys(manager, { sequence: 1, pins: [PIN] }),
};
const response = makeEnrolResponse(manager, answer);
const expected = { managerKey: manager.publicKey, ed25519: terminal.keys.ed25519 };

t.test('S1001: an enrolment proves the keys that it brings', async (t) => {
  t.same(openEnrolRequest(suite, enrol), request);
  t.equal(openEnrolRequest(suite, makeEnrolRequest(other.signing, request)), undefined);
  t.equal(
    anyFlipAccepted(enrol, (bytes) => openEnrolRequest(suite, bytes) !== undefined),
    false,
  );
});

t.test('S1001: an enrolment is answered by the manager that the ticket names', async (t) => {
  const open = (bytes: Uint8Array, by = expected): unknown => openEnrolResponse(suite, bytes, by);
  t.same(open(response), { ...answer, managerKey: manager.publicKey });
  t.equal(open(makeEnrolResponse(stranger, answer)), undefined, 'another manager');
  t.equal(open(response, { ...expected, ed25519: other.keys.ed25519 }), undefined, 'other keys');
  const forged = makeMembership(stranger, statement);
  t.equal(open(makeEnrolResponse(manager, { ...answer, membership: forged })), undefined);
  t.equal(
    anyFlipAccepted(response, (bytes) => open(bytes) !== undefined),
    false,
  );
});

t.test('a membership is renewed for whoever holds the keys, whatever their clock', async (t) => {
  const nonce = new Uint8Array(MEMBERSHIP_NONCE_BYTES).fill(7);
  const body = { url: URL, keys: terminal.keys, nonce };
  const renewal = makeMembershipRequest(terminal.signing, body);
  const open = (bytes: Uint8Array): unknown => openMembershipRequest(suite, bytes);
  t.same(open(renewal), body);
  t.equal(open(makeMembershipRequest(other.signing, body)), undefined);
  t.equal(open(makeEnrolRequest(terminal.signing, request)), undefined, 'signed for another use');
  t.equal(
    anyFlipAccepted(renewal, (bytes) => open(bytes) !== undefined),
    false,
  );
  const made = makeMembership(manager, statement);
  const answered = makeMembershipResponse(manager, { nonce, membership: made });
  const read = (
    bytes: Uint8Array,
    by: Partial<{ managerKey: Uint8Array; nonce: Uint8Array }> = {},
  ) => openMembershipResponse(suite, bytes, { managerKey: manager.publicKey, nonce, ...by });
  t.same(read(answered), made);
  t.equal(read(answered, { managerKey: stranger.publicKey }), undefined);
  t.equal(
    read(answered, { nonce: nonce.map((byte) => byte + 1) }),
    undefined,
    'of another request',
  );
  t.equal(
    anyFlipAccepted(answered, (bytes) => read(bytes) !== undefined),
    false,
  );
});

t.test("the server's keys are those that the manager names, newest first", async (t) => {
  const statement = { sequence: 7, pins: [PIN, NO_PIN] };
  const keys = makeServerKeys(manager, statement);
  const open = (bytes: Uint8Array, by = manager): unknown =>
    openServerKeys(suite, by.publicKey, bytes);
  t.same(open(keys), { version: 1, ...statement });
  t.equal(open(keys, stranger), undefined);
  t.equal(open(makeServerKeys(stranger, statement)), undefined);
  t.equal(open(makeReceipt(manager, stand)), undefined, 'signed for another use');
  t.equal(
    anyFlipAccepted(keys, (bytes) => open(bytes) !== undefined),
    false,
  );
  const full = { sequence: 1, pins: Array.from({ length: LIMITS.serverKeysMax }, () => PIN) };
  t.ok(makeServerKeys(manager, full).length <= LIMITS.serverKeysBytesMax);
  t.same(open(makeServerKeys(manager, full)), { version: 1, ...full });
  const over = { sequence: 1, pins: [...full.pins, PIN] };
  t.throws(() => makeServerKeys(manager, over), { code: 'assertion' }, 'one key too many');
});

const revoked = { sequence: 3, issuedAt: NOW, notBefore: 0, devices: [other.id] };

t.test('a revocation list is the one that the manager signed', async (t) => {
  const message = makeRevocationList(manager, revoked);
  const open = (changed: Partial<typeof message>, by = manager): unknown =>
    openRevocationList(suite, by.publicKey, { ...message, ...changed });
  t.same(open({}), { version: 1, ...revoked });
  t.equal(open({}, stranger), undefined);
  t.equal(
    openRevocationList(suite, manager.publicKey, makeRevocationList(stranger, revoked)),
    undefined,
  );
  t.equal(
    anyFlipAccepted(message.statement, (statement) => open({ statement }) !== undefined),
    false,
  );
  t.equal(
    anyFlipAccepted(message.signature, (signature) => open({ signature }) !== undefined),
    false,
  );
  const fewer = makeRevocationList(manager, { ...revoked, devices: [] });
  t.equal(open({ statement: fewer.statement }), undefined, 'of another list');
  const devices = Array.from({ length: LIMITS.revokedMax }, () => other.id);
  const full = makeRevocationList(manager, { ...revoked, devices });
  t.ok(encodeMessage(full).length <= LIMITS.messageBytesMax);
  t.same(openRevocationList(suite, manager.publicKey, full), { version: 1, ...revoked, devices });
});

const stand = { sequence: 41, hash: new Uint8Array(32).fill(3), at: NOW * 1_000 };

t.test('a receipt says where the log stood, in the words of the manager', async (t) => {
  const receipt = makeReceipt(manager, stand);
  const open = (bytes: Uint8Array, by = manager): unknown =>
    openReceipt(suite, by.publicKey, bytes);
  t.same(open(receipt), { version: 1, ...stand });
  t.equal(open(receipt, stranger), undefined);
  t.equal(open(makeReceipt(stranger, stand)), undefined);
  t.equal(open(makeServerKeys(manager, { sequence: 1, pins: [PIN] })), undefined);
  t.equal(
    anyFlipAccepted(receipt, (bytes) => open(bytes) !== undefined),
    false,
  );
  const latest = { ...stand, sequence: Number.MAX_SAFE_INTEGER, at: Number.MAX_SAFE_INTEGER };
  t.ok(makeReceipt(manager, latest).length <= LIMITS.receiptBytesMax);
});

t.test('mutated and random records are refused without an exception', async (t) => {
  const keys = makeServerKeys(manager, { sequence: 1, pins: [PIN] });
  const receipt = makeReceipt(manager, stand);
  const { statement: revocations, signature } = makeRevocationList(manager, revoked);
  const records = [membership, token, enrol, response, keys, receipt, revocations];
  const valid = fc.constantFrom(...records);
  const hostile = fc.oneof(mutated(valid), fc.uint8Array({ maxLength: 300 }));
  const originals = new Set(records.map(hex));
  fc.assert(
    fc.property(hostile, (bytes) => {
      // A change may put back what was there.
      if (originals.has(hex(bytes))) return true;
      return (
        openMembership(suite, manager.publicKey, bytes) === undefined &&
        typeof openToken(suite, manager.publicKey, bytes, check) === 'string' &&
        typeof openManagerToken(suite, manager.publicKey, bytes, check) === 'string' &&
        openEnrolRequest(suite, bytes) === undefined &&
        openEnrolResponse(suite, bytes, expected) === undefined &&
        openMembershipRequest(suite, bytes) === undefined &&
        openServerKeys(suite, manager.publicKey, bytes) === undefined &&
        openReceipt(suite, manager.publicKey, bytes) === undefined &&
        openRevocationList(suite, manager.publicKey, {
          kind: 'revoked',
          statement: bytes,
          signature,
        }) === undefined
      );
    }),
    FUZZ,
  );
  const text = formatTicket(inside);
  const garbled = mutated(fc.constant(new TextEncoder().encode(text)));
  let read = 0;
  fc.assert(
    fc.property(fc.oneof(garbled, fc.uint8Array()), (bytes) => {
      const parsed = parseTicket(new TextDecoder().decode(bytes));
      if (typeof parsed !== 'string') read += 1;
      return typeof parsed === 'string' || formatTicket(parsed).startsWith('nakodo1');
    }),
    FUZZ,
  );
  t.ok(read > 10, `${read} garbled tickets are still well-formed: the reader was reached`);
});
