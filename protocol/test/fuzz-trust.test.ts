// Everything that is signed and wrapped, and the ticket, spoiled in two ways. With the real
// signatures: nothing passes but what was signed. And under a suite that believes every signature,
// which is worse than any attacker: what is inside is read and written again byte for byte, or
// refused. The handshake of the seal and the sealed box likewise.

import t, { type Test } from 'tap';
import { sameBytes } from '../bytes.ts';
import { encodeCbor } from '../control/cbor.ts';
import { decodeMessage, encodeMessage } from '../control/codec.ts';
import { CHANNEL_ID_BYTES, type MessageOf } from '../control/messages.ts';
import { Hello, SealedChannel, answerHello } from '../control/seal.ts';
import { type CryptoSuite, KEY_BYTES, SIGNATURE_BYTES, type SigningKey } from '../crypto.ts';
import { deviceIdOf } from '../identity/device-id.ts';
import {
  makeEnrolRequest,
  makeEnrolResponse,
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
import { envelope, unwrap } from '../identity/signed.ts';
import { TICKET_SECRET_BYTES, formatTicket, parseTicket } from '../identity/ticket.ts';
import {
  NO_PIN,
  TOKEN_NONCE_BYTES,
  makeManagerToken,
  makeToken,
  openManagerToken,
  openToken,
} from '../identity/token.ts';
import type { DeviceId, ManagerId, Name } from '../ids.ts';
import { nodeSuite } from '../io/node-crypto.ts';
import { LIMITS } from '../limits.ts';
import { randomBytes, seededRng } from '../random.ts';
import { fuzz } from './fuzz.ts';

const NOW = 1_800_000_000;
const DAY = 86_400;
const URL = 'https://127.0.0.1:8183/nakodo/1/enrol';
const rng = seededRng(17);
const suite: CryptoSuite = nodeSuite;
const believing: CryptoSuite = { ...nodeSuite, verify: () => true };
const manager = suite.signingKey(randomBytes(rng, KEY_BYTES));
const managerKey = manager.publicKey;
const signing = suite.signingKey(randomBytes(rng, KEY_BYTES));
const agreement = suite.dhKey(randomBytes(rng, KEY_BYTES));
const keys = { ed25519: signing.publicKey, x25519: agreement.publicKey };
const device = deviceIdOf(suite, keys);
const agreementKey = suite.dhKey(randomBytes(rng, KEY_BYTES)).publicKey;
const pin = randomBytes(rng, PIN_BYTES);
const nonce = randomBytes(rng, TOKEN_NONCE_BYTES);
const secret = randomBytes(rng, TICKET_SECRET_BYTES);
const client = `manager-${'m'.repeat(32)}` as ManagerId;
const names = [undefined, 'TERM1', 'fridge@home.example'] as readonly (Name | undefined)[];

const membershipOf = (expiresAt = NOW + DAY): Uint8Array =>
  makeMembership(manager, { device, keys, issuedAt: NOW, expiresAt });
const tokenFields = { device, audience: managerKey, issuedAt: NOW, nonce, server: pin };
const check = { nowSeconds: NOW, clientId: device, server: pin };
const answer = {
  name: 'TERM1' as Name,
  membership: membershipOf(),
  brokerUrl: 'mqtts://127.0.0.1:8883',
  agreementKey,
};
const serverKeysOf = (sequence: number, pins: readonly Uint8Array[]): Uint8Array =>
  makeServerKeys(manager, { sequence, pins });
const EMPTY_SIGNATURE = new Uint8Array(SIGNATURE_BYTES);
const unsigned: SigningKey = { publicKey: managerKey, sign: () => EMPTY_SIGNATURE };

/** A wrapped record: how it is opened, and (as far as the opener tells all of it) made again. */
interface Wrapped {
  readonly valid: readonly Uint8Array[];
  /** Opened, and wrapped again without a signature; `as it was` if the opener tells only a part. */
  readonly open: (suite: CryptoSuite, bytes: Uint8Array) => Uint8Array | 'as it was' | undefined;
}

const again = <T>(
  opened: T | undefined,
  make: (opened: T) => Uint8Array,
): Uint8Array | undefined => (opened === undefined ? undefined : make(opened));

const WRAPPED: Readonly<Record<string, Wrapped>> = {
  'a membership': {
    valid: [0, 1, DAY].map((more) => membershipOf(NOW + more)),
    open: (by, bytes) =>
      again(openMembership(by, managerKey, bytes), (found) => makeMembership(unsigned, found)),
  },
  'a token': {
    valid: [membershipOf(), membershipOf(NOW + 2 * DAY)].map((membership) =>
      makeToken(signing, { ...tokenFields, membership }),
    ),
    open: (by, bytes) =>
      typeof openToken(by, managerKey, bytes, check) === 'string' ? undefined : 'as it was',
  },
  "a manager's token": {
    valid: [NOW, NOW - 5].map((issuedAt) => makeManagerToken(manager, { client, issuedAt, nonce })),
    open: (by, bytes) => {
      const found = openManagerToken(by, managerKey, bytes, { ...check, clientId: client });
      return typeof found === 'string' ? undefined : 'as it was';
    },
  },
  'an enrolment request': {
    valid: names.map((name) => makeEnrolRequest(signing, { url: URL, secret, keys, name })),
    open: (by, bytes) =>
      again(openEnrolRequest(by, bytes), (found) => makeEnrolRequest(unsigned, found)),
  },
  'an enrolment response': {
    valid: [undefined, serverKeysOf(1, [pin])].map((serverKeys) =>
      makeEnrolResponse(manager, { ...answer, serverKeys }),
    ),
    open: (by, bytes) =>
      again(openEnrolResponse(by, bytes, { managerKey, ed25519: keys.ed25519 }), (found) =>
        makeEnrolResponse(unsigned, found),
      ),
  },
  'a membership request': {
    valid: [URL, 'http://[::1]:1/'].map((url) =>
      makeMembershipRequest(signing, { url, keys, nonce }),
    ),
    open: (by, bytes) =>
      again(openMembershipRequest(by, bytes), (found) => makeMembershipRequest(unsigned, found)),
  },
  'the server keys': {
    valid: [serverKeysOf(0, []), serverKeysOf(7, [pin]), serverKeysOf(2 ** 40, [pin, NO_PIN])],
    open: (by, bytes) =>
      again(openServerKeys(by, managerKey, bytes), (found) => makeServerKeys(unsigned, found)),
  },
  'a membership response': {
    valid: [membershipOf(), membershipOf(NOW + 5)].map((membership) =>
      makeMembershipResponse(manager, { nonce, membership }),
    ),
    open: (by, bytes) =>
      again(openMembershipResponse(by, bytes, { managerKey, nonce }), (membership) =>
        makeMembershipResponse(unsigned, { nonce, membership }),
      ),
  },
  'a receipt': {
    valid: [1, 300, 2 ** 45].map((sequence) =>
      makeReceipt(manager, { sequence, hash: pin, at: NOW * 1_000 }),
    ),
    open: (by, bytes) =>
      again(openReceipt(by, managerKey, bytes), (found) => makeReceipt(unsigned, found)),
  },
};

/** What is inside, and the envelope's signature left out. */
function bodyOf(wrapped: Uint8Array): Uint8Array {
  const parts = unwrap(wrapped);
  if (parts === undefined) throw new Error('not wrapped');
  return parts.body;
}

for (const [what, { valid, open }] of Object.entries(WRAPPED)) {
  t.test(`any bytes for ${what}: nothing passes that was not signed`, async (t) => {
    fuzz(t, {
      what,
      valid,
      read: (bytes) => {
        const isPassed = open(suite, bytes) !== undefined;
        const isSigned = valid.some((each) => sameBytes(each, bytes));
        if (isPassed && !isSigned) throw new Error('what nobody signed was read');
        return isPassed ? bytes : undefined;
      },
    });
  });

  t.test(
    `any bytes inside of ${what}, its signature believed: read exactly, or refused`,
    async (t) => {
      fuzz(t, {
        what: `inside of ${what}`,
        valid: valid.map(bodyOf),
        read: (body) => {
          if (body.length === 0 || body.length > LIMITS.signedBodyBytesMax) return undefined;
          const wrapped = encodeCbor(envelope, { body, signature: EMPTY_SIGNATURE });
          const opened = open(believing, wrapped);
          return opened === 'as it was' ? body : opened && bodyOf(opened);
        },
      });
    },
  );
}

const LISTS = [[], [device], ['z'.repeat(32) as DeviceId, device]].map((devices) =>
  makeRevocationList(manager, { sequence: 9, issuedAt: NOW, notBefore: 0, devices }),
);

t.test('any revocation list: nothing passes that was not signed; read exactly', async (t) => {
  const open = (by: CryptoSuite, message: MessageOf<'revoked'>): Uint8Array | undefined => {
    const found = openRevocationList(by, managerKey, message);
    if (found === undefined) return undefined;
    return makeRevocationList(manager, found).statement;
  };
  const valid = LISTS.map(({ statement }) => statement);
  fuzz(t, {
    what: 'revocation list',
    valid,
    read: (statement) =>
      LISTS.map((list) => open(suite, { ...list, statement })).find((found) => found !== undefined),
  });
  fuzz(t, {
    what: 'inside of a revocation list',
    valid,
    read: (statement) => open(believing, { ...LISTS[0], statement }),
  });
});

t.test('any text for a ticket: a ticket, or why not', async (t) => {
  const tickets = names.flatMap((name) =>
    [undefined, pin].map((each) =>
      formatTicket({
        url: URL,
        managerKey,
        agreementKey,
        secret,
        expiresAt: NOW,
        name,
        pin: each,
      }),
    ),
  );
  const texts = [
    ...tickets,
    tickets[0].toUpperCase(),
    ` ${tickets[1].slice(0, 40)}\n${tickets[1].slice(40)}`,
  ];
  fuzz(t, {
    what: 'ticket',
    valid: texts.map((text) => new TextEncoder().encode(text)),
    // Blanks and capitals come of copying.
    again: 'settled',
    read: (bytes) => {
      const found = parseTicket(new TextDecoder().decode(bytes));
      return typeof found === 'string' ? undefined : new TextEncoder().encode(formatTicket(found));
    },
  });
});

const sealing = suite.dhKey(randomBytes(rng, KEY_BYTES));
const hello = (by = rng): Hello =>
  new Hello({ suite, rng: by, device, localKey: agreement, managerKey: sealing.publicKey });

/** A decoded message of one kind; undefined for anything else. */
function messageOf<K extends 'hello' | 'welcome' | 'sealed'>(
  kind: K,
  bytes: Uint8Array,
): MessageOf<K> | undefined {
  const message = decodeMessage(bytes);
  return message?.kind === kind ? (message as MessageOf<K>) : undefined;
}

function there<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('refused');
  return value;
}

const answered = (message: MessageOf<'hello'>): ReturnType<typeof answerHello> =>
  answerHello({ suite, rng, device, deviceKey: keys.x25519, localKey: sealing }, message);

/** A message with its request left out: it is no part of the handshake. */
const handshakeOf = ({ channel, noise }: MessageOf<'hello'> | MessageOf<'welcome'>): Uint8Array =>
  Uint8Array.from([...channel, ...noise]);

function fuzzHandshake(
  t: Test,
  kind: 'hello' | 'welcome',
  valid: readonly (MessageOf<'hello'> | MessageOf<'welcome'>)[],
  isTaken: (message: MessageOf<'hello'> | MessageOf<'welcome'>) => boolean,
): void {
  const genuine = valid.map(handshakeOf);
  fuzz(t, {
    what: kind,
    valid: valid.map(encodeMessage),
    read: (bytes) => {
      const message = messageOf(kind, bytes);
      if (message === undefined || !isTaken(message)) return undefined;
      const handshake = handshakeOf(message);
      if (genuine.some((each) => sameBytes(each, handshake))) return bytes;
      throw new Error('a handshake that nobody made was taken');
    },
  });
}

t.test('any bytes for a hello: that of the terminal, or none', async (t) => {
  const valid = [1, 2, 3].map(() => there(hello().message));
  fuzzHandshake(t, 'hello', valid, (message) =>
    message.kind === 'hello' ? answered(message) !== undefined : false,
  );
});

t.test('any bytes for a welcome: that of the manager, or none', async (t) => {
  // The same hello again and again: each is finished once.
  const same = (): Hello => hello(seededRng(5));
  const said = there(same().message);
  let waiting = same();
  const valid = [1, 2, 3].map(() => there(answered(said)).welcome);
  fuzzHandshake(t, 'welcome', valid, (message) => {
    if (message.kind !== 'welcome' || waiting.finish(message) === undefined) return false;
    waiting = same();
    return true;
  });
});

t.test('any bytes for a sealed message: what was sealed, or nothing', async (t) => {
  const id = randomBytes(rng, CHANNEL_ID_BYTES);
  const [one, other] = [1, 2].map(() => randomBytes(rng, KEY_BYTES));
  const hash = new Uint8Array(0);
  const near = new SealedChannel(suite, id, { send: one, receive: other, hash });
  const texts = [Uint8Array.of(0), new Uint8Array(300).fill(7)];
  const wires = texts.flatMap((text) => [near.seal(text), near.seal(text)]);
  fuzz(t, {
    what: 'sealed',
    valid: wires,
    read: (bytes) => {
      const message = messageOf('sealed', bytes);
      // Each box opens once: a channel of its own for each case.
      const far = new SealedChannel(suite, id, { send: other, receive: one, hash });
      if (message === undefined || far.open(message) === undefined) return undefined;
      if (wires.some((wire) => sameBytes(wire, bytes))) return bytes;
      throw new Error('what nobody sealed was opened');
    },
  });
});
