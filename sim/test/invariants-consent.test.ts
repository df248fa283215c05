// Invariants of consent, addresses and refusals: they hold in worlds with and without faults, and
// each says so when something else is heard than what may happen.

import t from 'tap';
import { asciiBytes, concatBytes } from '../../protocol/bytes.ts';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import { KIND_NUMBERS } from '../../protocol/control/messages.ts';
import { type Name, randomRequestId } from '../../protocol/ids.ts';
import { seededRng } from '../../protocol/random.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import type { Happening } from '../happenings.ts';
import { Refusals } from '../invariants/refusals.ts';
import type { Word } from '../invariants/spoken.ts';
import { kindOf } from '../invariants/spoken.ts';
import { CALM, drawOptions } from '../options.ts';
import type { Permission } from '../permissions.ts';
import { Violation } from '../violation.ts';
import { World } from '../world.ts';
import { type Tampering, altered, altering, judged, once } from './tampered-world.ts';

const rng = seededRng(1);
const EXTENDING = { 'work.quota': 1, 'work.extend': 1, 'work.bytes': 20_000 };

const patched =
  (change: (permission: Permission | undefined) => Permission | undefined): Tampering['prepare'] =>
  (world) => {
    const { permissions } = world;
    const of = permissions.of.bind(permissions);
    permissions.of = (callee, caller) => change(of(callee, caller));
  };

const isLogged = (happening: Happening): boolean =>
  happening.kind === 'logged' && happening.entry.kind === 'introduced';

const introduced = (
  change: (entry: Extract<Happening, { kind: 'logged' }>['entry']) => object,
): Tampering['alter'] =>
  once(isLogged, (happening) => {
    if (happening.kind !== 'logged') return [happening];
    const entry = { ...happening.entry, ...change(happening.entry) } as typeof happening.entry;
    return [{ ...happening, entry }];
  });

/** Leaves out the readings of lists at notices. */
function withoutSecondReading(): Tampering['alter'] {
  let isNotice = false;
  return (happening) => {
    if (happening.kind === 'opened')
      isNotice = kindOf(happening.bytes) === KIND_NUMBERS.addressNotice;
    return happening.kind === 'listRead' && isNotice ? [] : undefined;
  };
}

const eventOf = (kind: 'introduced' | 'extended', change: object): Tampering['alter'] =>
  altering('event', (happening) =>
    happening.event.kind === kind
      ? [{ ...happening, event: { ...happening.event, ...change } as typeof happening.event }]
      : undefined,
  );

const CONSENT: Readonly<Record<string, readonly [Tampering, RegExp]>> = {
  'a call that nobody made': [{ alter: altering('called', () => []) }, /which nobody wanted/],
  'a list that nobody read': [{ alter: altering('listRead', () => []) }, /without having read/],
  'a list that says no': [{ prepare: patched(() => undefined) }, /whom its list refuses/],
  'a list for another service': [
    { prepare: patched((one) => one && { ...one, services: ['another'] }) },
    /whom its list refuses/,
  ],
  'an owner who was not asked': [
    { prepare: patched((one) => one && { ...one, asks: 'yes' }) },
    /whom its list refuses/,
  ],
  'a list with less time': [
    { prepare: patched((one) => one && { ...one, seconds: 1 }) },
    /s of at most 1/,
  ],
  'a list with a quota': [
    { prepare: patched((one) => one && { ...one, bytes: 10 }) },
    /bytes of at most 10/,
  ],
  'a list not read again': [{ alter: withoutSecondReading() }, /without reading its list again/],
  'a talk that is not in the log': [{ alter: once(isLogged, () => []) }, /not in the log/],
  'one request, two talks': [{ alter: once(isLogged, (one) => [one, one]) }, /introduced twice/],
  'another service in the log': [
    { alter: introduced(() => ({ service: 'other' })) },
    /another service was asked/,
  ],
  'a stranger in the log': [
    { alter: introduced(() => ({ callerName: 'nobody' as Name })) },
    /the IDs are others/,
  ],
  'more than the operator permits': [
    { alter: introduced(() => ({ seconds: 61 })) },
    /61 s of at most/,
  ],
  'somebody revoked': [
    {
      alter: once(isLogged, (one, world) => {
        const terminal = one.kind === 'logged' && one.entry.kind === 'introduced' && one.entry;
        const callee = terminal && world.terminal(terminal.calleeName);
        return callee ? [{ kind: 'revoked', terminal: callee }, one] : [one];
      }),
    },
    /although one of them is revoked/,
  ],
  'somebody about to be revoked': [
    {
      alter: (happening, world) =>
        happening.kind === 'change' && happening.change.event === 'begun'
          ? [
              happening,
              ...world.terminals.map((terminal) => ({ kind: 'operatorRevoke', terminal }) as const),
            ]
          : undefined,
    },
    /told although .* is revoked/,
  ],
  'another key for each end': [
    { alter: altered('sealed', 'addressNotice', (one) => [{ ...one, key: newKey() }]) },
    /different keys/,
  ],
  'other terms for each end': [
    { alter: eventOf('introduced', { terms: { seconds: 1_000, bytes: undefined } }) },
    /other terms than granted/,
  ],
  'another service for each end': [
    { alter: eventOf('introduced', { service: 'another' }) },
    /not as the log says/,
  ],
  'an introduction twice': [
    {
      alter: altering('event', (one) => (one.event.kind === 'introduced' ? [one, one] : undefined)),
    },
    /twice/,
  ],
  'an extension beyond what was granted': [
    { alter: eventOf('extended', { seconds: 1_000 }), options: EXTENDING, seed: 5 },
    /to what was never granted/,
  ],
  'an extension beyond the list': [
    {
      alter: altering('logged', (one) =>
        one.entry.kind === 'extended'
          ? [{ ...one, entry: { ...one.entry, seconds: 1_000 } }]
          : undefined,
      ),
      options: EXTENDING,
      seed: 5,
    },
    /extended/,
  ],
};

const newKey = (): Uint8Array => Uint8Array.from({ length: 32 }, () => rng.next());

/** Where some other terminal is, as a message would say it. */
function whereabouts(world: World, than: string): Uint8Array {
  const other = world.terminals.find(({ name, sockets }) => name !== than && sockets.length > 0);
  const [socket] = other?.sockets ?? [];
  if (socket === undefined) return new Uint8Array(0);
  const address = Uint8Array.from(socket.host.split('.').map(Number));
  const record = randomRequestId(rng) as never;
  const candidates = [{ address, port: socket.port, type: 'host' as const }];
  return encodeMessage({ kind: 'address', record, candidates });
}

const ADDRESSES: Readonly<Record<string, readonly [Tampering, RegExp]>> = {
  'a query without a yes': [
    { alter: altered('sealed', 'allowList', () => []) },
    /which has not agreed/,
  ],
  'a query the wrong way round': [
    {
      alter: altering('published', (one) => {
        const message = decodeMessage(one.bytes);
        if (message?.kind !== 'addressQuery') return undefined;
        const [caller, callee] = message.wanted;
        return [{ ...one, bytes: encodeMessage({ ...message, wanted: [callee, caller] }) }];
      }),
    },
    /without a yes to this very call/,
  ],
  'an answer with what nobody published': [
    {
      alter: altering('delivered', (one) => {
        const message = decodeMessage(one.bytes);
        if (message?.kind !== 'addressAnswer') return undefined;
        const found = message.found.map((each) => ({
          ...each,
          candidates: each.candidates.map((candidate) => ({ ...candidate, port: 1 })),
        }));
        return [{ ...one, bytes: encodeMessage({ ...message, found }) }];
      }),
    },
    /never published for this record/,
  ],
  'a notice with somebody else’s address': [
    {
      alter: altered('sealed', 'addressNotice', (one) => [
        { ...one, peerCandidates: [{ address: Uint8Array.of(1, 2, 3, 4), port: 5, type: 'host' }] },
      ]),
    },
    /not of its other end/,
  ],
  'an address in another message': [
    {
      alter: altering('opened', (one, world) =>
        one.owner === 'manager'
          ? undefined
          : [{ ...one, bytes: concatBytes(one.bytes, whereabouts(world, one.owner)) }],
      ),
    },
    /is told where/,
  ],
  'an address on the bus': [
    {
      alter: altering('delivered', (one, world) =>
        one.party === 'manager'
          ? undefined
          : [{ ...one, bytes: whereabouts(world, one.party.name) }],
      ),
    },
    /hears where/,
  ],
  'an address as text': [
    {
      alter: altering('delivered', (one, world) => {
        if (one.party === 'manager') return undefined;
        const { name } = one.party;
        const other = world.terminals.find((each) => each.name !== name && each.sockets.length > 0);
        return other && [{ ...one, bytes: asciiBytes(`at ${other.sockets[0].host}`) }];
      }),
    },
    /hears where/,
  ],
  'a datagram to somebody else': [
    {
      alter: altering('datagramSent', (one) => [{ ...one, peer: { host: '1.2.3.4', port: 5 } }]),
    },
    /where nobody agreed to be/,
  ],
};

const REFUSALS: Readonly<Record<string, readonly [Tampering, RegExp]>> = {
  'a refusal before its time': [
    { alter: altered('opened', 'connect', (one) => [{ ...one, waitMs: one.waitMs + 100 }]) },
    /refused 9\d ms early/,
  ],
  'a refusal that comes late': [
    { alter: altered('opened', 'connect', (one) => [{ ...one, waitMs: 100 }]) },
    /refused 50\d\d ms after its call/,
  ],
  'a refusal with a reason': [
    { alter: altered('sealed', 'refusal', (one) => [one, { ...one, why: 'denied' }]) },
    /bytes beside others/,
  ],
  'a question that is put twice': [
    { alter: altered('sealed', 'ask', (one) => [one, one, one, one]) },
    /asked \d times by one call/,
  ],
  'two questions of one call': [
    { alter: altered('sealed', 'ask', (one) => [one, { ...one, request: randomRequestId(rng) }]) },
    /one call, two questions/,
  ],
  'a call that is handed over twice': [
    {
      alter: altering('delivered', (one) =>
        kindOf(one.bytes) === KIND_NUMBERS.call ? [one, one] : undefined,
      ),
    },
    /handed one call twice/,
  ],
};

t.test(
  'S2005: in sound worlds consent, addresses and refusals are as they should be',
  async (t) => {
    t.equal(judged({}), undefined);
    t.equal(judged({ options: EXTENDING, seed: 5 }), undefined);
    for (let seed = 1; seed <= 6; seed++)
      t.equal(judged({ options: drawOptions(seededRng(seed)), seed }), undefined, `seed ${seed}`);
  },
);

const controls = { consent: CONSENT, addresses: ADDRESSES, refusals: REFUSALS };
for (const [invariant, cases] of Object.entries(controls)) {
  t.test(`S2004: the invariant of ${invariant} notices what may not be`, async (t) => {
    for (const [what, [tampering, says]] of Object.entries(cases)) {
      const said = judged(tampering) ?? 'nothing';
      t.match(said, says, what);
      t.ok(said.startsWith(`${invariant}: `), `${what}: ${said}`);
    }
  });
}

t.test('S2002: strangers have at most so many open questions at one callee', async (t) => {
  const world = new World({ seed: 1, terminals: 30, options: CALM, suite: fastSuite });
  const { terminals } = world;
  const say = (refusals: Refusals, caller: number): void => {
    const nonce = randomRequestId(rng);
    const from = terminals[caller];
    const waitMs = 5_000;
    const word = (how: Word['how'], message: object): Word =>
      ({ how, party: 'manager', machine: undefined, topic: undefined, size: 0, message }) as Word;
    const connect = { kind: 'connect', request: nonce, callerName: from.name, waitMs };
    refusals.onWord(word('opened', { ...connect, calleeName: terminals[0].name }));
    const { id: callerId, name: callerName } = from;
    const request = randomRequestId(rng);
    const ask = { kind: 'ask', request, nonce, callerId, callerName, waitMs };
    refusals.onWord(word('sealed', ask));
  };
  const one = new Refusals(world);
  for (let i = 0; i < 4; i++) say(one, 1);
  t.throws(() => say(one, 1), Violation, 'a fifth of one stranger');
  const many = new Refusals(world);
  for (let i = 0; i < 12; i++) say(many, 1 + i);
  t.throws(() => say(many, 13), Violation, 'a thirteenth of all strangers');
  const fewer = new Refusals(world);
  for (let i = 0; i < 12; i++) say(fewer, 1 + i);
  fewer.onHappening({ kind: 'operatorRevoke', terminal: terminals[1] });
  say(fewer, 13);
  t.throws(() => say(fewer, 14), Violation, 'whoever is revoked leaves room for one');
});
