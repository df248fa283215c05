// Invariants of sessions, log, logins, clones, memory and secrets: each says so when something else
// is heard than what may happen.

import t from 'tap';
import { concatBytes } from '../../protocol/bytes.ts';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import { KIND_NUMBERS, type Message } from '../../protocol/control/messages.ts';
import { topic } from '../../protocol/control/topics.ts';
import { randomRequestId } from '../../protocol/ids.ts';
import { seededRng } from '../../protocol/random.ts';
import { after, seconds } from '../../protocol/time.ts';
import type { LogEntry } from '../../session-manager/log.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import type { Happening } from '../happenings.ts';
import { Memory } from '../invariants/memory.ts';
import { Sessions } from '../invariants/sessions.ts';
import { kindOf } from '../invariants/spoken.ts';
import { CALM } from '../options.ts';
import { World } from '../world.ts';
import { type Tampering, altered, altering, judged, once } from './tampered-world.ts';

const rng = seededRng(2);
type Cases = Readonly<Record<string, readonly [Tampering, RegExp]>>;

const isLogged =
  (kind: LogEntry['kind']) =>
  (happening: Happening): boolean =>
    happening.kind === 'logged' && happening.entry.kind === kind;

const logged = (kind: LogEntry['kind'], change: (entry: LogEntry) => object): Tampering => ({
  alter: once(isLogged(kind), (happening) => {
    if (happening.kind !== 'logged') return [happening];
    const entry = { ...happening.entry, ...change(happening.entry) } as LogEntry;
    return [{ ...happening, entry }];
  }),
});

const twice = (kind: LogEntry['kind']): Tampering => ({
  alter: once(isLogged(kind), (happening) => [happening, happening]),
});

const SESSIONS: Cases = {
  'a session that begins twice': [twice('introduced'), /twice/],
  'an end of which the log knows nothing': [
    { alter: once(isLogged('ended'), () => []) },
    /closed and not in the log/,
  ],
  'an end that nobody ordered': [
    logged('ended', () => ({ reason: 'operator' })),
    /an order that nobody gave/,
  ],
  'an end by a terminal that said something else': [
    logged('ended', () => ({ reason: 'quota' })),
    /which did not say quota/,
  ],
  'a report that its terminal never made': [
    logged('report', () => ({ said: 'path-lost' })),
    /not what it told its owner/,
  ],
  'a report with other counts': [
    logged('report', (entry) => ({ sentBytes: 'sentBytes' in entry ? entry.sentBytes + 1 : 0 })),
    /not what it told its owner/,
  ],
  'a difference that is none': [
    {
      alter: altering('logged', (one) =>
        one.entry.kind === 'report' && one.entry.differenceBytes !== undefined
          ? [{ ...one, entry: { ...one.entry, differenceBytes: 7 } }]
          : undefined,
      ),
    },
    /differs by 0, and the log says 7/,
  ],
  'bytes that nobody wrote': [{ alter: altering('wrote', () => []) }, /counts \d+ bytes of 0/],
  'a manager that begins twice': [
    {
      alter: altering('change', (one) => (one.change.event === 'begun' ? [one, one] : undefined)),
    },
    /begins twice/,
  ],
  'a manager that ends twice': [
    {
      alter: altering('change', (one) => (one.change.event === 'ended' ? [one, one] : undefined)),
    },
    /closed twice/,
  ],
  'a terminal that ends twice': [
    { alter: altering('event', (one) => (one.event.kind === 'ended' ? [one, one] : undefined)) },
    /ends session \w+ twice/,
  ],
  'a terminal that ends by an order of nobody': [
    {
      alter: altering('event', (one) =>
        one.event.kind === 'ended'
          ? [{ ...one, event: { ...one.event, reason: 'revoked' as const } }]
          : undefined,
      ),
    },
    /by a revocation that nobody ordered/,
  ],
  'an order that is not in the log': [
    {
      options: { 'operator.end': 60, 'work.hold': 1 },
      alter: altering('logged', (one) =>
        one.entry.kind === 'ended'
          ? [{ ...one, entry: { ...one.entry, kind: 'checkpoint', signature: new Uint8Array(64) } }]
          : undefined,
      ),
    },
    /after an order/,
  ],
  'a talk that a restart would forget': [
    { alter: altering('stored', () => []) },
    /keeps no record of it/,
  ],
  'an order that is not obeyed': [
    {
      options: { 'work.hold': 1 },
      alter: altering('event', (one) => {
        if (one.event.kind !== 'introduced') return undefined;
        const { session } = one.event;
        const request = randomRequestId(rng);
        const order = { kind: 'endRequest', request, session, reason: 'operator' } as const;
        const { name: owner } = one.terminal;
        return [one, { kind: 'opened', owner, bytes: encodeMessage(order) }];
      }),
    },
    /is asked to end session \w+ and goes on/,
  ],
};

const LOG: Cases = {
  'an entry that is missing': [{ alter: once(isLogged('enrolled'), () => []) }, /follows entry/],
  'a log that was changed': [
    {
      alter: altering('calm', (one, world) => {
        const log = world.manager.tables.get('log');
        const [bytes] = log?.values() ?? [];
        bytes[bytes.length - 1] ^= 1;
        return [one];
      }),
    },
    /does not verify/,
  ],
  'a log that was cut': [
    {
      alter: altering('calm', (one, world) => {
        const log = world.manager.tables.get('log') as Map<string, Uint8Array>;
        log.delete([...log.keys()][log.size - 1]);
        return [one];
      }),
    },
    /has \d+ entries of \d+/,
  ],
  'a receipt that is forged': [
    {
      alter: altered('sealed', 'ended', (one) =>
        one.receipt === undefined
          ? undefined
          : [{ ...one, receipt: one.receipt.map((byte, at) => (at === 90 ? byte ^ 1 : byte)) }],
      ),
    },
    /did not sign/,
  ],
  'an end that is acknowledged for another one': [
    {
      alter: altered('sealed', 'ended', (one) => [
        { ...one, session: randomRequestId(rng) as never },
      ]),
    },
    /acknowledged, not logged/,
  ],
};

const LOGINS: Cases = {
  'a terminal that hears what is for another': [
    {
      alter: altering('delivered', (one, world) =>
        one.party === world.terminals[0]
          ? [{ ...one, topic: topic('down', world.terminals[1].id) }]
          : undefined,
      ),
    },
    /hears nakodo/,
  ],
  'a revoked terminal that stays': [
    {
      options: { 'work.calls': 0.001 },
      alter: once(
        ({ kind }) => kind === 'started',
        (one) => (one.kind === 'started' ? [one, { kind: 'revoked', terminal: one.terminal }] : []),
      ),
    },
    /stays although it is revoked|let in/,
  ],
};

const CLONES: Cases = {
  'a copy that nobody notices': [
    {
      options: { 'terminal.clone': 60 },
      alter: altering('alarm', () => []),
    },
    /lives twice/,
  ],
  'a copy that is let in': [
    {
      options: { 'terminal.clone': 60 },
      alter: altered('sealed', 'refusal', ({ code, request }, world) =>
        code === 'cloned' ? [registered(world, request)] : undefined,
      ),
    },
    /the later of two machines/,
  ],
};

function registered(world: World, request: ReturnType<typeof randomRequestId>): Message {
  const { name } = world.terminals[0];
  return { kind: 'registered', request, name, membership: new Uint8Array(9), time: 1 } as Message;
}

/** Puts a key into the next message on the bus. */
function withKey(): Tampering['alter'] {
  let key: Uint8Array | undefined;
  return (happening) => {
    if (
      happening.kind === 'sealed' &&
      kindOf(happening.bytes) === KIND_NUMBERS.addressNotice &&
      key === undefined
    ) {
      const message = decodeMessage(happening.bytes.slice());
      if (message?.kind === 'addressNotice') key = message.key.slice(0, 16);
    }
    if (happening.kind !== 'published' || key === undefined) return undefined;
    return [{ ...happening, bytes: concatBytes(happening.bytes, key) }];
  };
}

/** Puts what an application wrote into the next datagram. */
function withPlain(): Tampering['alter'] {
  let plain: Uint8Array | undefined;
  return (happening) => {
    if (happening.kind === 'wrote' && happening.bytes.length >= 64)
      plain = happening.bytes.slice(0, 64);
    if (happening.kind !== 'datagramSent' || plain === undefined) return undefined;
    return [{ ...happening, bytes: concatBytes(happening.bytes, plain) }];
  };
}

const SECRETS: Cases = {
  'a key on the bus': [{ alter: withKey() }, /a session key stands in a message/],
  'plaintext in a datagram': [{ alter: withPlain() }, /what an application said stands in/],
  'a key on the manager’s disk': [
    {
      alter: altering('calm', (one, world) => {
        const [secret] = world.crypto.secrets();
        const meta = world.manager.tables.get('meta') as Map<string, Uint8Array>;
        meta.set('forgotten', secret.slice());
        return [one];
      }),
    },
    /stands in the manager's table meta/,
  ],
};

const controls = { sessions: SESSIONS, log: LOG, logins: LOGINS, clones: CLONES, secrets: SECRETS };
for (const [invariant, cases] of Object.entries(controls)) {
  t.test(`S6001: the invariant of ${invariant} notices what may not be`, async (t) => {
    for (const [what, [tampering, says]] of Object.entries(cases)) {
      const said = judged({ ...tampering, only: invariant }) ?? 'nothing';
      t.match(said, says, what);
    }
  });
}

t.test('S6001: the same worlds are sound as they are', async (t) => {
  for (const [, [{ options }]] of Object.values(controls).flatMap((cases) => Object.entries(cases)))
    if (options !== undefined) t.equal(judged({ options }), undefined, JSON.stringify(options));
});

t.test('S6005: an end that was ordered and does not come is noticed', async (t) => {
  const world = new World({
    seed: 1,
    terminals: 2,
    options: { ...CALM, 'udp.delay': 10 },
    suite: fastSuite,
    permittedShare: 1,
  });
  const sessions = new Sessions(world);
  world.watchers.push(sessions);
  world.open();
  const [caller, callee] = world.terminals;
  caller.call({ callee: callee.name, service: 'pipe', want: {}, waitMs: 5_000, extend: false });
  const isOpen = (): boolean => (world.manager.core?.sessions('open').length ?? 0) > 0;
  t.ok(world.run(after(world.now, seconds(5)), isOpen), 'there is a talk');
  const [{ session }] = world.manager.core?.sessions('open') ?? [];
  world.run(after(world.now, seconds(1)));
  // The operator's word gets lost on its way to the manager.
  world.happen({ kind: 'operatorEnd', session });
  for (const terminal of world.terminals)
    world.schedule(after(world.now, seconds(6)), () => terminal.input({ kind: 'linkUp' }));
  t.throws(() => world.run(after(world.now, seconds(7))), /goes on although its end was ordered/);
});

t.test('S1000: a party that grows without a bound is noticed', async (t) => {
  const world = new World({ seed: 1, terminals: 2, options: CALM, suite: fastSuite });
  const memory = new Memory(world);
  const [terminal] = world.terminals;
  const look = (): void => {
    for (let i = 0; i < 64; i++) memory.afterEvent(new Set([terminal]));
  };
  world.open();
  t.doesNotThrow(look);
  Object.defineProperty(terminal, 'sockets', { value: Array.from({ length: 1_000 }) });
  t.throws(look, /sockets of terminal-0: 1000 of at most/);
  const bytes = new Uint8Array(1);
  for (let i = 0; i < 5_000; i++)
    memory.onHappening({ kind: 'published', party: 'manager', topic: 'x', bytes });
  t.throws(() => memory.afterEvent(new Set()), /messages of one event: 5000/);
});
