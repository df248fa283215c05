// Table tests of triggers and polls in virtual time: handed over, waiting, dropped at the deadline
// to the microsecond; takeovers, bounds, malformed input, and any order of it all. Long because it
// is one table of one core: what waits, what is handed, what expires.

import fc from 'fast-check';
import t from 'tap';
import { dose } from '../../protocol/test/dose.ts';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { Message } from '../../protocol/control/messages.ts';
import { type ParsedTopic, QUERY_TOPIC, parseTopic, topic } from '../../protocol/control/topics.ts';
import { type RequestId, type SessionId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { micros, ms } from '../../protocol/time.ts';
import { BROKER_LIMITS } from '../limits.ts';
import { Outbox } from '../outbox.ts';
import { Triggers } from '../triggers.ts';
import {
  CALLEE,
  CALLER,
  HERE,
  MANAGER,
  type Published,
  THERE,
  VirtualBroker,
  address,
  call,
  deviceOf,
  polled,
  query,
  recordOf,
  requestOf,
  state,
  trigger,
} from './virtual-broker.ts';

const TRIGGER = topic('trigger', CALLEE);

t.test('S3001: a trigger for a terminal that is there is handed over at once', async (t) => {
  const broker = new VirtualBroker();
  t.strictSame(broker.attend(CALLEE), [polled(0)]);
  t.strictSame(broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 5000)), [
    call(requestOf(1), 5000),
    state(requestOf(1), 'handed'),
  ]);
  t.equal(broker.core.counters().handed, 1);
});

t.test('S3001: a trigger repeated calls nobody twice and says its state again', async (t) => {
  const broker = new VirtualBroker();
  broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 5000));
  t.strictSame(broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 5000)), [
    state(requestOf(1), 'waiting'),
  ]);
  broker.attend(CALLEE);
  t.strictSame(broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 5000)), [
    state(requestOf(1), 'handed'),
  ]);
  t.strictSame(broker.give({ kind: 'polled', device: CALLEE }), [polled(0)]);
  t.equal(broker.core.counters().handed, 1);
});

t.test('S3001: a repetition does not put the deadline off', async (t) => {
  const broker = new VirtualBroker();
  broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 1000));
  broker.pass(900);
  broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 1000));
  t.strictSame(broker.pass(100), [state(requestOf(1), 'expired')]);
});

t.test('S3001: only a manager sends triggers, and only triggers', async (t) => {
  const broker = new VirtualBroker();
  broker.attend(CALLEE);
  t.strictSame(broker.tell(CALLER, TRIGGER, trigger(requestOf(1), 5000)), []);
  t.strictSame(broker.tell(CALLEE, TRIGGER, trigger(requestOf(1), 5000)), []);
  t.strictSame(broker.tell(MANAGER, TRIGGER, address(recordOf(1), HERE)), []);
  t.strictSame(broker.tell(MANAGER, QUERY_TOPIC, trigger(requestOf(1), 5000)), []);
  t.strictSame(broker.tell(MANAGER, topic('down', CALLEE), trigger(requestOf(1), 5000)), []);
  t.match(broker.core.counters(), { outOfPlace: 5, handed: 0 });
});

t.test('S3001: at the bound of a terminal a trigger expires at once', async (t) => {
  const broker = new VirtualBroker();
  for (let at = 0; at < LIMITS.triggersPerDeviceMax; at++)
    t.strictSame(broker.tell(MANAGER, TRIGGER, trigger(requestOf(at), 5000)), [
      state(requestOf(at), 'waiting'),
    ]);
  t.strictSame(broker.tell(MANAGER, TRIGGER, trigger(requestOf(99), 5000)), [
    state(requestOf(99), 'expired'),
  ]);
  const handed = broker.attend(CALLEE).filter(({ message }) => message?.kind === 'call');
  t.equal(handed.length, LIMITS.triggersPerDeviceMax);
});

t.test('S3001: at the bound of all triggers, or of their bytes, one more expires', async (t) => {
  for (const [bytes, most] of [
    [1, LIMITS.triggersMax],
    [LIMITS.payloadBytesMax, BROKER_LIMITS.triggerBytesMax / LIMITS.payloadBytesMax],
  ]) {
    const outbox = new Outbox();
    const triggers = new Triggers(outbox);
    const payload = new Uint8Array(bytes);
    const message = { kind: 'trigger', request: requestOf(1), deadlineMs: 5000, payload } as const;
    const said = (): unknown => {
      const state = decodeMessage(outbox.poll()?.bytes ?? new Uint8Array());
      return state?.kind === 'triggerState' ? state.state : undefined;
    };
    for (let at = 0; at < most; at++) {
      triggers.trigger(micros(0), deviceOf(at), message);
      if (at % 1000 === 0) t.equal(said(), 'waiting');
      else outbox.poll();
    }
    t.equal(triggers.waiting, most);
    triggers.trigger(micros(0), CALLEE, message);
    t.equal(said(), 'expired');
    let expired = 0;
    for (let round = 0; triggers.waiting > 0 && round < 100; round++) {
      triggers.handleTimeout(micros(ms(5000)));
      while (outbox.poll() !== undefined) expired += 1;
    }
    t.equal(expired, most, 'no expiry is lost in the crowd');
    t.equal(outbox.dropped, 0);
    triggers.trigger(micros(ms(5000)), CALLEE, message);
    t.equal(said(), 'waiting', 'and there is room again');
  }
});

t.test('S3002: the communication request says what is left of its deadline', async (t) => {
  const broker = new VirtualBroker();
  broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 60_000));
  broker.pass(12_345);
  t.strictSame(broker.attend(CALLEE), [
    call(requestOf(1), 47_655),
    state(requestOf(1), 'handed'),
    polled(1),
  ]);
});

t.test('S3002: requests that waited are handed over in the order of their arrival', async (t) => {
  const broker = new VirtualBroker();
  for (const [at, deadlineMs] of [9000, 3000, 6000].entries())
    broker.tell(MANAGER, TRIGGER, trigger(requestOf(at), deadlineMs));
  const handed = broker
    .attend(CALLEE)
    .flatMap(({ message }) => (message?.kind === 'call' ? [message.request] : []));
  t.strictSame(handed, [requestOf(0), requestOf(1), requestOf(2)]);
});

t.test('S3002: a connected terminal that has not polled is not called yet', async (t) => {
  const broker = new VirtualBroker();
  broker.give({ kind: 'connected', device: CALLEE });
  t.strictSame(broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 5000)), [
    state(requestOf(1), 'waiting'),
  ]);
  t.strictSame(broker.give({ kind: 'polled', device: CALLEE }), [
    call(requestOf(1), 5000),
    state(requestOf(1), 'handed'),
    polled(1),
  ]);
  broker.give({ kind: 'stopped', device: CALLEE });
  t.strictSame(broker.tell(MANAGER, TRIGGER, trigger(requestOf(2), 5000)), [
    state(requestOf(2), 'waiting'),
  ]);
});

t.test('claim 17: a trigger waits for the next poll and is dropped at its deadline', async (t) => {
  const broker = new VirtualBroker();
  t.strictSame(broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 5000)), [
    state(requestOf(1), 'waiting'),
  ]);
  t.equal(broker.core.nextTimeout(), ms(5000));
  t.strictSame(broker.pass(4999), []);
  t.strictSame(broker.pass(1), [state(requestOf(1), 'expired')]);
  t.strictSame(broker.attend(CALLEE), [polled(0)], 'never delivered late');
  t.match(broker.core.counters(), { expired: 1, handed: 0, triggersWaiting: 0 });
});

t.test('claim 17: a poll in the instant of the deadline comes too late', async (t) => {
  for (const [at, handed] of [
    [micros(ms(5000) - 1), 1],
    [micros(ms(5000)), 0],
    [micros(ms(900_000)), 0],
  ]) {
    const broker = new VirtualBroker();
    broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 5000));
    // The core was not woken: its timer is late, the poll is first.
    broker.now = micros(at);
    t.strictSame(broker.attend(CALLEE).at(-1), polled(handed));
    t.equal(broker.core.counters().expired, 1 - handed);
  }
});

t.test('claim 17: nor is one handed late by a broker that nobody drained', async (t) => {
  const broker = new VirtualBroker();
  const tell = (): void => {
    broker.core.handle(
      broker.now,
      broker.input({
        kind: 'message',
        from: MANAGER,
        topic: parseTopic(TRIGGER) as ParsedTopic,
        bytes: encodeMessage(trigger(requestOf(1), 5000)),
      }),
    );
  };
  // Each repetition says the state again: no room is left for what falls due.
  for (let told = 0; told < LIMITS.outputsMax; told++) tell();
  broker.now = micros(ms(5000));
  broker.core.handleTimeout(broker.now);
  t.equal(broker.core.counters().triggersWaiting, 1, 'it is still there, past its deadline');
  broker.core.handle(broker.now, broker.input({ kind: 'connected', device: CALLEE }));
  broker.core.handle(broker.now, { kind: 'polled', device: CALLEE });
  const published = broker.drain();
  t.ok(!published.some(({ message }) => message?.kind === 'call'));
  t.match(broker.core.counters(), { expired: 1, handed: 0, triggersWaiting: 0 });
});

t.test('claim 17: a trigger whose deadline is no time at all expires at once', async (t) => {
  const broker = new VirtualBroker();
  broker.attend(CALLEE);
  t.strictSame(broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 0)), [
    state(requestOf(1), 'expired'),
  ]);
});

t.test('claim 17: a terminal that went away is not called until it polls again', async (t) => {
  const broker = new VirtualBroker();
  broker.attend(CALLEE);
  broker.give({ kind: 'disconnected', device: CALLEE });
  t.strictSame(broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 5000)), [
    state(requestOf(1), 'waiting'),
  ]);
  t.strictSame(broker.attend(CALLEE), [
    call(requestOf(1), 5000),
    state(requestOf(1), 'handed'),
    polled(1),
  ]);
});

t.test('claim 17: a takeover, in either order, leaves the terminal there', async (t) => {
  const orders: readonly (readonly ('connected' | 'disconnected' | 'polled')[])[] = [
    ['disconnected', 'connected', 'polled'],
    ['connected', 'disconnected', 'polled'],
    ['connected', 'polled', 'disconnected'],
  ];
  for (const order of orders) {
    const broker = new VirtualBroker();
    broker.attend(CALLEE);
    for (const kind of order) broker.give({ kind, device: CALLEE });
    t.equal(broker.core.counters().connected, 1, order.join());
    t.strictSame(broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 5000)), [
      call(requestOf(1), 5000),
      state(requestOf(1), 'handed'),
    ]);
  }
  const broker = new VirtualBroker();
  broker.attend(CALLEE);
  broker.give({ kind: 'connected', device: CALLEE });
  t.strictSame(
    broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 5000)),
    [state(requestOf(1), 'waiting')],
    'the new connection has not polled',
  );
});

t.test('claim 17: a poll of a terminal without a connection is out of place', async (t) => {
  const broker = new VirtualBroker();
  t.strictSame(broker.give({ kind: 'polled', device: CALLEE }), []);
  broker.give({ kind: 'disconnected', device: CALLEE });
  broker.give({ kind: 'stopped', device: CALLEE });
  t.match(broker.core.counters(), { connected: 0, outOfPlace: 1 });
});

t.test('claim 18: an end request is passed on like any trigger, unread', async (t) => {
  const broker = new VirtualBroker();
  broker.attend(CALLER);
  const payload = encodeMessage({
    kind: 'endRequest',
    request: requestOf(1),
    session: requestOf(9) as string as SessionId,
    reason: 'operator',
  });
  const said = broker.tell(
    MANAGER,
    topic('trigger', CALLER),
    trigger(requestOf(1), LIMITS.endAnswerMs, payload),
  );
  t.strictSame(said, [
    {
      to: topic('call', CALLER),
      message: { kind: 'call', request: requestOf(1), deadlineMs: LIMITS.endAnswerMs, payload },
    },
    state(requestOf(1), 'handed', CALLER),
  ]);
});

t.test('claim 21: the whole part of the broker in one talk that comes about', async (t) => {
  const broker = new VirtualBroker();
  broker.attend(CALLER);
  broker.attend(CALLEE);
  const story: readonly (readonly [string, string, Message, readonly string[]])[] = [
    [CALLER, topic('address', CALLER), address(recordOf(1), HERE), ['addressRecorded']],
    [MANAGER, TRIGGER, trigger(requestOf(1), 5000), ['call', 'triggerState']],
    [CALLEE, topic('address', CALLEE), address(recordOf(2), THERE), ['addressRecorded']],
    [
      MANAGER,
      QUERY_TOPIC,
      query(requestOf(2), [
        [CALLER, recordOf(1)],
        [CALLEE, recordOf(2)],
      ]),
      ['addressAnswer'],
    ],
    [MANAGER, topic('trigger', CALLER), trigger(requestOf(3), 5000), ['call', 'triggerState']],
    [MANAGER, TRIGGER, trigger(requestOf(3), 5000), ['call', 'triggerState']],
  ];
  for (const [from, name, message, kinds] of story) {
    const said = broker.tell(from, name, message);
    t.strictSame(
      said.map((one) => one.message?.kind),
      kinds,
    );
  }
  t.match(broker.core.counters(), { malformed: 0, outOfPlace: 0, outputsDropped: 0, handed: 3 });
});

t.test('malformed messages are counted and change nothing', async (t) => {
  const broker = new VirtualBroker();
  const good = encodeMessage(trigger(requestOf(1), 5000));
  const places = [QUERY_TOPIC, TRIGGER, topic('address', CALLEE)].map((name) => parseTopic(name));
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 80 }),
        fc.nat(good.length - 1).map((at) => good.subarray(0, at)),
        fc
          .tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }))
          .map(([at, flip]) =>
            Uint8Array.from(good, (byte, index) => (index === at ? byte ^ flip : byte)),
          ),
        fc.constant(new Uint8Array(LIMITS.messageBytesMax + 1)),
      ),
      fc.constantFrom(MANAGER, CALLEE),
      fc.constantFrom(...places),
      (bytes, from, place) => {
        if (place === undefined) return false;
        const before = broker.core.counters();
        const input = { kind: 'message', from, topic: place, bytes } as const;
        const said = broker.give(input);
        const after = broker.core.counters();
        // A flipped bit may leave a well-formed trigger with another ID or payload: then it waits.
        const refused = after.malformed + after.outOfPlace - before.malformed - before.outOfPlace;
        return refused === 1 ? said.length === 0 : said.length === 1;
      },
    ),
    { numRuns: dose(2000) },
  );
  t.ok(broker.core.counters().malformed > 1000);
});

t.test('time that steps back is taken for the last time seen', async (t) => {
  const broker = new VirtualBroker();
  broker.pass(10_000);
  broker.give({ kind: 'connected', device: CALLER });
  broker.now = micros(0);
  broker.tell(MANAGER, TRIGGER, trigger(requestOf(1), 5000));
  t.equal(broker.core.nextTimeout(), ms(15_000));
});

t.test(
  'while output is queued the core asks to be drained, and its queue is bounded',
  async (t) => {
    const broker = new VirtualBroker();
    const bytes = encodeMessage(address(recordOf(1), HERE));
    const place = { of: 'address', device: CALLER } as const;
    for (let at = 0; at < LIMITS.outputsMax + 10; at++)
      broker.core.handle(
        micros(at),
        broker.input({ kind: 'message', from: CALLER, topic: place, bytes }),
      );
    t.equal(broker.core.nextTimeout(), LIMITS.outputsMax + 9);
    t.equal(broker.core.counters().outputsDropped, 10);
    t.equal(broker.drain().length, LIMITS.outputsMax);
  },
);

t.test('claim 17: any order of inputs: each trigger is handed or expires, once', async (t) => {
  type Step = readonly ['come' | 'go' | 'poll' | 'pass' | 'trigger', number];
  const step: fc.Arbitrary<Step> = fc.tuple(
    fc.constantFrom('come', 'go', 'poll', 'pass', 'trigger'),
    fc.nat(40),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const broker = new VirtualBroker();
      const deadlines = new Map<RequestId, number>();
      const calls = new Map<RequestId, number>();
      const expiries = new Map<RequestId, number>();
      const note = (published: readonly Published[]): void => {
        for (const { message } of published) {
          if (message?.kind === 'call') {
            if (broker.now >= (deadlines.get(message.request) ?? 0)) throw new Error('late');
            calls.set(message.request, (calls.get(message.request) ?? 0) + 1);
          }
          if (message?.kind === 'triggerState' && message.state === 'expired')
            expiries.set(message.request, (expiries.get(message.request) ?? 0) + 1);
        }
      };
      for (const [action, number] of steps) {
        if (action === 'come') note(broker.give({ kind: 'connected', device: CALLEE }));
        if (action === 'go') note(broker.give({ kind: 'disconnected', device: CALLEE }));
        if (action === 'poll') note(broker.give({ kind: 'polled', device: CALLEE }));
        if (action === 'pass') note(broker.pass(number));
        if (action === 'trigger' && !deadlines.has(requestOf(number))) {
          deadlines.set(requestOf(number), broker.now + ms(number + 1));
          note(broker.tell(MANAGER, TRIGGER, trigger(requestOf(number), number + 1)));
        }
      }
      note(broker.pass(100));
      return [...deadlines.keys()].every(
        (request) => (calls.get(request) ?? 0) + (expiries.get(request) ?? 0) === 1,
      );
    }),
    { numRuns: dose(500) },
  );
  t.pass('500 runs');
});
