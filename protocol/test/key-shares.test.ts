// Key shares (ADR 0021): both ends have the handshake's keys with the notice. They are the keys
// that its two packets would have made, and whoever changes, swaps, keeps back or invents a share,
// the manager itself included, ends with no talk, never with a talk to somebody else.

import t from 'tap';
import type { DhKey } from '../crypto.ts';
import { Connection } from '../data/connection.ts';
import type { Role } from '../data/connection-types.ts';
import { Handshake } from '../data/handshake.ts';
import { Probes } from '../data/probe.ts';
import { randomSessionId } from '../ids.ts';
import { nodeSuite } from '../io/node-crypto.ts';
import { randomBytes, seededRng } from '../random.ts';
import { NEVER, micros } from '../time.ts';

const rng = seededRng(11);
const dhKey = (): DhKey => nodeSuite.dhKey(randomBytes(rng, 32));
const STATIC: Record<Role, DhKey> = { caller: dhKey(), callee: dhKey() };
const SHARE: Record<Role, DhKey> = { caller: dhKey(), callee: dhKey() };
const other = (role: Role): Role => (role === 'caller' ? 'callee' : 'caller');
const prologue = randomBytes(rng, 100);
const sessionKey = randomBytes(rng, 32);
const session = randomSessionId(rng);
const now = micros(1_000_000);

interface How {
  /** What the notice says is the other's share; absent: the true one; undefined: none. */
  readonly share?: Uint8Array | undefined;
  readonly sessionKey?: Uint8Array;
  readonly prologue?: Uint8Array;
  readonly localKey?: DhKey;
  readonly remotePublicKey?: Uint8Array;
}

const handshake = (role: Role, how: How = {}): Handshake =>
  new Handshake({
    role,
    suite: nodeSuite,
    prologue,
    sessionKey,
    localKey: STATIC[role],
    remotePublicKey: STATIC[other(role)].publicKey,
    ephemeral: SHARE[role],
    remoteEphemeral: 'share' in how ? how.share : SHARE[other(role)].publicKey,
    ...how,
  });

const connection = (role: Role, how: How = {}): Connection =>
  new Connection({
    role,
    session,
    grantBytes: how.prologue ?? prologue,
    limits: { seconds: 60, bytes: undefined },
    sessionKey: how.sessionKey ?? sessionKey,
    localKey: how.localKey ?? STATIC[role],
    ephemeral: SHARE[role],
    remoteEphemeral: 'share' in how ? how.share : SHARE[other(role)].publicKey,
    remotePublicKey: how.remotePublicKey ?? STATIC[other(role)].publicKey,
    suite: nodeSuite,
    rng,
    config: {},
  });

/** Bytes of X25519 that give a secret of zero with any key (RFC 7748 §6.1). */
const LOW_ORDER = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
].map((text) => Uint8Array.from(Buffer.from(text, 'hex')));

t.test('claim 7: shares make the same secrets at both ends, and those of the two packets', (t) => {
  const [caller, callee] = [handshake('caller').secrets, handshake('callee').secrets];
  t.ok(caller !== undefined && callee !== undefined);
  t.strictSame(caller?.send, callee?.receive);
  t.strictSame(caller?.receive, callee?.send);
  t.strictSame(caller?.hash, callee?.hash);
  t.notSame(caller?.send, caller?.receive);
  // The same keys, with packets.
  const knocking = handshake('caller', { share: undefined });
  const listening = handshake('callee', { share: undefined });
  t.equal(knocking.secrets, undefined);
  const packet = new Uint8Array(100);
  const initiation = packet.slice(0, knocking.writeInitiation(1, packet));
  t.equal(listening.readInitiation(initiation), 'fresh');
  const response = packet.slice(0, listening.writeResponse(2, packet));
  t.ok(knocking.readResponse(response));
  t.strictSame(knocking.secrets, caller);
  t.strictSame(listening.secrets, callee);
  t.end();
});

/** One end's packet at the other. */
function heard(from: Role, how: Record<Role, How>): boolean {
  const [sender, receiver] = [
    connection(from, how[from]),
    connection(other(from), how[other(from)]),
  ];
  const into = new Uint8Array(1_500);
  const probes = (role: Role, of: Connection): Probes =>
    new Probes({
      suite: nodeSuite,
      session,
      sessionKey: how[role].sessionKey ?? sessionKey,
      secrets: of.probeSecrets,
      role,
      rng,
    });
  const path = { host: '192.0.2.9', port: 9 };
  const probe = probes(from, sender);
  const size = probe.write(into, { kind: 'probe', token: randomBytes(rng, 8) });
  const isProbeRead = probes(other(from), receiver).read(into.slice(0, size)) !== undefined;
  sender.start(now);
  receiver.start(now);
  sender.open(now, path);
  const transmit = sender.pollTransmit(now, into);
  if (transmit !== undefined) receiver.handleDatagram(now, path, into.slice(0, transmit.size));
  const isOpen = receiver.state(now).state === 'open';
  if (isOpen && !isProbeRead) throw new Error('a packet is read by whom no probe reaches');
  return isProbeRead && (isOpen || from === 'callee');
}

const TRUE: Record<Role, How> = { caller: {}, callee: {} };

t.test('claim 7: with the right shares the first packet opens the talk', (t) => {
  t.ok(heard('caller', TRUE));
  t.ok(heard('callee', TRUE));
  t.end();
});

t.test('claim 7: whoever changes a share gets no talk', (t) => {
  const mallory = dhKey();
  const flipped = SHARE.caller.publicKey.slice();
  flipped[7] ^= 1;
  const cases: readonly (readonly [string, Record<Role, How>])[] = [
    ['a bit of one', { caller: {}, callee: { share: flipped } }],
    ['another call’s', { caller: { share: dhKey().publicKey }, callee: {} }],
    ['the manager’s own for one end', { caller: { share: mallory.publicKey }, callee: {} }],
    [
      'the manager’s own for both',
      { caller: { share: mallory.publicKey }, callee: { share: mallory.publicKey } },
    ],
    [
      'each its own back',
      { caller: { share: SHARE.caller.publicKey }, callee: { share: SHARE.callee.publicKey } },
    ],
    [
      'the static keys in place of them',
      { caller: { share: STATIC.callee.publicKey }, callee: { share: STATIC.caller.publicKey } },
    ],
    ['none for the callee', { caller: {}, callee: { share: undefined } }],
    ['none for the caller', { caller: { share: undefined }, callee: {} }],
    ['another grant at one end', { caller: { prologue: randomBytes(rng, 100) }, callee: {} }],
    ['another session key', { caller: { sessionKey: randomBytes(rng, 32) }, callee: {} }],
    ['another peer’s key', { caller: { remotePublicKey: dhKey().publicKey }, callee: {} }],
  ];
  for (const [what, how] of cases) {
    t.notOk(heard('caller', how), `${what}: to the callee`);
    t.notOk(heard('callee', how), `${what}: to the caller`);
  }
  t.end();
});

t.test('claim 7: a share of low order, or of another length, gives no keys and no way', (t) => {
  for (const share of LOW_ORDER) {
    for (const role of ['caller', 'callee'] as const) {
      const lost = connection(role, { share });
      t.equal(lost.probeSecrets, undefined);
      const path = { host: '192.0.2.9', port: 9 };
      lost.start(now);
      lost.open(now, path);
      lost.knock(path);
      t.equal(lost.pollTransmit(now, new Uint8Array(1_500)), undefined, 'and says nothing');
      t.equal(lost.state(now).state, 'handshake');
      t.not(lost.nextTimeout(), NEVER, 'it gives up in time');
    }
  }
  t.equal(handshake('caller', { share: new Uint8Array(31) }).secrets, undefined);
  t.equal(handshake('caller', { share: new Uint8Array(0) }).secrets, undefined);
  t.end();
});

t.test('claim 7: a manager that knows all but one end’s own keys cannot be the other end', (t) => {
  // It has the session key, the grant, made up a share, and shows its own static key or nobody's.
  const mallory = { share: dhKey(), key: dhKey() };
  const victim = handshake('caller', { share: mallory.share.publicKey }).secrets;
  t.ok(victim !== undefined, 'positive control: the caller has keys');
  for (const localKey of [mallory.key, mallory.share]) {
    const forged = new Handshake({
      role: 'callee',
      suite: nodeSuite,
      prologue,
      sessionKey,
      localKey,
      remotePublicKey: STATIC.caller.publicKey,
      ephemeral: mallory.share,
      remoteEphemeral: SHARE.caller.publicKey,
    }).secrets;
    t.ok(forged !== undefined);
    t.notSame(forged?.send, victim?.receive);
    t.notSame(forged?.receive, victim?.send);
  }
  const owner = new Handshake({
    role: 'callee',
    suite: nodeSuite,
    prologue,
    sessionKey,
    localKey: STATIC.callee,
    remotePublicKey: STATIC.caller.publicKey,
    ephemeral: mallory.share,
    remoteEphemeral: SHARE.caller.publicKey,
  }).secrets;
  t.strictSame(owner?.send, victim?.receive, 'with the callee’s own key it can');
  t.end();
});
