// The small pure parts under the broker, each against a slow twin: packet lengths,
// strangers, logins.

import fc from 'fast-check';
import t from 'tap';
import { dose } from '../../protocol/test/dose.ts';
import { PIN_BYTES } from '../../protocol/identity/server-keys.ts';
import { NO_PIN } from '../../protocol/identity/token.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { BROKER_LIMITS } from '../limits.ts';
import { proveLogin } from '../login.ts';
import { type LengthVerdict, PacketLengths } from '../packet-lengths.ts';
import { Strangers } from '../strangers.ts';
import { makeManager, makeTerminal } from './parties.ts';

/** An MQTT packet whose body has `length` bytes. */
function packet(length: number): Uint8Array {
  const header = [0x30];
  let rest = length;
  do {
    header.push((rest & 127) | (rest > 127 ? 128 : 0));
    rest >>= 7;
  } while (rest > 0);
  return Uint8Array.from([...header, ...new Uint8Array(length).fill(0xff)]);
}

t.test('packets up to the bound pass, one byte more does not', async (t) => {
  for (const [max, body, verdict] of [
    [2048, 2048 - 3, 'ok'],
    [2048, 2048 - 2, 'too-long'],
    [16_384, 16_384 - 3, 'ok'],
    [16_384, 16_384 - 2, 'too-long'],
    [2, 0, 'ok'],
    [2, 1, 'too-long'],
  ] as const)
    t.equal(new PacketLengths(max).feed(packet(body)), verdict, `${body} of ${max}`);
});

t.test('a length that is announced is refused before its body comes', async (t) => {
  const lengths = new PacketLengths(2048);
  t.equal(lengths.feed(Uint8Array.of(0x10, 0xff, 0xff, 0xff)), 'ok');
  t.equal(lengths.feed(Uint8Array.of(0x7f)), 'too-long');
  t.equal(lengths.feed(packet(0)), 'too-long', 'and stays refused');
});

t.test('a length of more than four bytes is none', async (t) => {
  t.equal(
    new PacketLengths(2048).feed(Uint8Array.of(0x10, 0x80, 0x80, 0x80, 0x80, 0x01)),
    'malformed',
  );
});

t.test('chunks of any size give the verdict of byte by byte', async (t) => {
  const seen = new Set<LengthVerdict>();
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc
      .array(fc.nat(40).map(packet), { maxLength: 6 })
      .map((packets) => Uint8Array.from(packets.flatMap((each) => [...each]))),
  );
  fc.assert(
    fc.property(bytes, fc.array(fc.nat(20)), fc.integer({ min: 2, max: 40 }), (all, cuts, max) => {
      const whole = new PacketLengths(max);
      const single = new PacketLengths(max);
      let at = 0;
      let verdict: LengthVerdict = 'ok';
      for (const cut of [...cuts, all.length]) {
        verdict = whole.feed(all.subarray(at, at + cut));
        at += cut;
      }
      let slow: LengthVerdict = 'ok';
      for (const byte of all) slow = single.feed(Uint8Array.of(byte));
      seen.add(slow);
      return verdict === slow && slow === twinVerdict(all, max);
    }),
    { numRuns: dose(2_000, 50) },
  );
  t.strictSame([...seen].sort(), ['malformed', 'ok', 'too-long']);
});

/** Reads packet after packet off a whole array. */
function twinVerdict(all: Uint8Array, max: number): LengthVerdict {
  let at = 0;
  while (at < all.length) {
    const header = [...all.subarray(at + 1, at + 5)];
    const last = header.findIndex((byte) => byte < 128);
    if (last < 0) return header.length === 4 ? 'malformed' : 'ok';
    const body = header.slice(0, last + 1).reduce((sum, b, i) => sum + (b & 127) * 128 ** i, 0);
    const length = 2 + last + body;
    if (length > max) return 'too-long';
    at += length;
  }
  return 'ok';
}

t.test('when strangers are too many the oldest goes, never the newcomer', async (t) => {
  const strangers = new Strangers<number>();
  for (let at = 0; at < BROKER_LIMITS.strangersMax; at++)
    t.equal(strangers.add(at, `address ${at}`), undefined);
  t.equal(strangers.add(-1, 'newcomer'), 0);
  strangers.remove(1);
  t.equal(strangers.add(-2, 'another'), undefined);
  t.equal(strangers.add(-3, 'third'), 2);
  t.equal(strangers.size, BROKER_LIMITS.strangersMax);
});

t.test('one address is held to its share only above half load', async (t) => {
  const strangers = new Strangers<number>();
  const half = BROKER_LIMITS.strangersMax / 2;
  for (let at = 0; at < half; at++) t.equal(strangers.add(at, 'one NAT'), undefined);
  t.equal(strangers.add(-1, 'one NAT'), 0, 'its own oldest goes');
  t.equal(strangers.add(-2, 'somebody else'), undefined);
  t.equal(strangers.size, half + 1);
  strangers.remove(-1);
  strangers.remove(-1);
  t.equal(strangers.size, half);
});

t.test('a login proves one party, for its own client ID, now', async (t) => {
  const manager = makeManager(1);
  const stranger = makeManager(2);
  const terminal = makeTerminal(manager, 3);
  const other = makeTerminal(manager, 4);
  const now = 1_800_000_000;
  const keys = [stranger.key.publicKey, manager.key.publicKey];
  const password = terminal.password(now);
  const clientId: string = terminal.device;
  const prove = (login: object, nowSeconds = now, managerKeys = keys, server = NO_PIN): unknown => {
    const trust = { suite: nodeSuite, managerKeys, server };
    const whole = { clientId, username: 'terminal', password, ...login };
    const proven = proveLogin(trust, { nowSeconds, notBefore: 0 }, whole);
    return typeof proven === 'string' ? proven : { party: proven.party, held: proven.held };
  };
  t.strictSame(prove({}), {
    party: { of: 'terminal', device: terminal.device },
    held: {
      device: terminal.device,
      manager: 1,
      issuedAt: now,
      expiresAt: now + LIMITS.membershipSeconds,
    },
  });
  t.strictSame(
    prove({ username: 'manager', clientId: manager.id, password: manager.password(now) }),
    { party: { of: 'manager', client: manager.id }, held: undefined },
  );
  const pin = new Uint8Array(PIN_BYTES).fill(7);
  t.equal(prove({}, now, keys, pin), 'audience', 'a token for a broker without TLS');
  const pinned = terminal.password(now, { server: pin });
  t.match(prove({ password: pinned }, now, keys, pin), { party: { of: 'terminal' } });
  t.equal(prove({ password: pinned }), 'audience', 'a token for another server');
  t.equal(prove({ clientId: other.device }), 'client-id');
  t.equal(prove({ username: 'manager' }), 'malformed');
  t.equal(prove({ username: undefined }), 'username');
  t.equal(prove({ username: 'admin' }), 'username');
  t.equal(prove({ password: undefined }), 'malformed');
  t.equal(prove({ password: new Uint8Array(BROKER_LIMITS.loginBytesMax + 1) }), 'malformed');
  t.equal(
    prove({ password: password.map((byte, at) => (at === 200 ? byte ^ 1 : byte)) }),
    'signature',
  );
  t.equal(prove({}, now + 3600), 'expired');
  t.equal(prove({}, now, [stranger.key.publicKey]), 'audience');
  t.equal(prove({}, now, []), 'audience');
  const usurper = stranger.password(now, manager.id);
  t.equal(
    prove({ username: 'manager', clientId: manager.id, password: usurper }),
    'client-id',
    'no manager takes the place of another',
  );
  t.ok(password.length <= BROKER_LIMITS.loginBytesMax);
});
