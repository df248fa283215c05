// Rights: tables of what each party may do, and a property against a slow, readable twin that
// writes down every allowed topic in full.

import fc from 'fast-check';
import t from 'tap';
import { dose } from '../../protocol/test/dose.ts';
import { type Party, forBroker, mayPublish, mayReceive, maySubscribe } from '../rights.ts';
import { CALLEE, CALLER, MANAGER, OTHER_MANAGER } from './virtual-broker.ts';

const TERMINAL: Party = { of: 'terminal', device: CALLER };
const OPERATOR: Party = { of: 'manager', client: MANAGER };
const DEVICES = [CALLER, CALLEE];

/** The twin: design §4's table, written out for two terminals. */
const each = (...shapes: readonly string[]): string[] =>
  shapes.flatMap((shape) => DEVICES.map((device) => `nakodo/1/${shape.replace('<id>', device)}`));
const own = (...kinds: readonly string[]): string[] =>
  kinds.map((kind) => `nakodo/1/${kind}/${CALLER}`);
const TWIN = {
  terminal: {
    publish: own('address', 'up', 'allow-list'),
    subscribe: own('call', 'down'),
    receive: own('call', 'down'),
  },
  manager: {
    publish: [...each('trigger/<id>', 'down/<id>'), 'nakodo/1/query', 'nakodo/1/revoked'],
    subscribe: [
      'nakodo/1/up/+',
      'nakodo/1/allow-list/+',
      'nakodo/1/trigger/+/state',
      `nakodo/1/answer/${MANAGER}`,
    ],
    receive: [
      ...each('up/<id>', 'allow-list/<id>', 'trigger/<id>/state'),
      `nakodo/1/answer/${MANAGER}`,
    ],
  },
} as const;

const KINDS = ['address', 'up', 'allow-list', 'trigger', 'call', 'down', 'answer', 'query'];
const word = fc.constantFrom(
  ...KINDS,
  ...DEVICES,
  MANAGER,
  OTHER_MANAGER,
  ...'nakodo 1 2 state revoked + # $SYS $share new clients'.split(' '),
  '',
  CALLER.toUpperCase(),
  `${CALLER} `,
  CALLER.slice(1),
  `${CALLER}a`,
);
const ALLOWED = Object.values(TWIN).flatMap((rights) => Object.values(rights).flat());
const names = fc.oneof(
  fc.constantFrom(...ALLOWED),
  fc.array(word, { minLength: 1, maxLength: 5 }).map((words) => words.join('/')),
  fc.array(word, { minLength: 1, maxLength: 3 }).map((words) => `nakodo/1/${words.join('/')}`),
  fc.tuple(fc.constantFrom(...ALLOWED), fc.string({ maxLength: 3 })).map(([a, b]) => a + b),
  fc.tuple(fc.constantFrom(...ALLOWED), fc.nat(60)).map(([a, at]) => a.slice(0, at)),
);
const has = (list: readonly string[], name: string): boolean => list.includes(name);

t.test('rights are exactly those of the slow readable twin', async (t) => {
  let allowed = 0;
  fc.assert(
    fc.property(names, fc.nat(2), fc.boolean(), fc.boolean(), (name, qos, retain, isTerminal) => {
      const party = isTerminal ? TERMINAL : OPERATOR;
      const twin = TWIN[party.of];
      const publish = qos <= 1 && !retain && has(twin.publish, name);
      const subscribe = qos <= 1 && has(twin.subscribe, name);
      allowed += Number(publish) + Number(subscribe);
      return (
        mayPublish(party, { topic: name, qos, retain }) === publish &&
        maySubscribe(party, { topic: name, qos }) === subscribe &&
        mayReceive(party, name) === has(twin.receive, name)
      );
    }),
    { numRuns: dose(20_000) },
  );
  t.ok(allowed > 500, 'and the property saw allowed ones too');
});

t.test('a terminal publishes on its own three topics and subscribes to its own two', async (t) => {
  for (const name of TWIN.terminal.publish)
    t.ok(mayPublish(TERMINAL, { topic: name, qos: 1, retain: false }), name);
  for (const name of TWIN.terminal.subscribe) t.ok(maySubscribe(TERMINAL, { topic: name, qos: 1 }));
  const table: readonly string[] = [
    ...TWIN.manager.publish,
    ...TWIN.manager.receive,
    ...TWIN.terminal.publish.map((name) => name.replace(CALLER, CALLEE)),
    ...'# + nakodo/1/up/+ nakodo/# $SYS/x/new/clients $SYS/# $share/g/a'.split(' '),
    '',
  ];
  for (const name of table.filter((name) => !has(TWIN.terminal.publish, name)))
    t.notOk(mayPublish(TERMINAL, { topic: name, qos: 0, retain: false }), name);
  for (const name of [...table, ...TWIN.terminal.publish].filter(
    (name) => !has(TWIN.terminal.subscribe, name),
  ))
    t.notOk(maySubscribe(TERMINAL, { topic: name, qos: 0 }), name);
});

t.test('nobody retains, nobody uses QoS 2', async (t) => {
  for (const party of [TERMINAL, OPERATOR]) {
    for (const topic of TWIN[party.of].publish) {
      t.notOk(mayPublish(party, { topic, qos: 2, retain: false }));
      t.notOk(mayPublish(party, { topic, qos: 1, retain: true }));
    }
    for (const topic of TWIN[party.of].subscribe) t.notOk(maySubscribe(party, { topic, qos: 2 }));
  }
});

t.test('a manager is told nothing of another manager', async (t) => {
  const answer = `nakodo/1/answer/${OTHER_MANAGER}`;
  t.notOk(maySubscribe(OPERATOR, { topic: answer, qos: 1 }));
  t.notOk(maySubscribe(OPERATOR, { topic: 'nakodo/1/answer/+', qos: 1 }));
  t.notOk(mayReceive(OPERATOR, answer));
  t.ok(mayReceive({ of: 'manager', client: OTHER_MANAGER }, answer));
});

t.test('what the broker consumes goes to nobody; the rest is passed on', async (t) => {
  for (const name of [
    ...each('address/<id>', 'trigger/<id>'),
    'nakodo/1/query',
    'nakodo/1/revoked',
  ]) {
    t.ok(forBroker(name), name);
    t.notOk(mayReceive(OPERATOR, name), name);
    t.notOk(mayReceive(TERMINAL, name), name);
  }
  for (const name of each('up/<id>', 'allow-list/<id>', 'down/<id>', 'trigger/<id>/state'))
    t.equal(forBroker(name), undefined, name);
  t.equal(forBroker('nakodo/1/revoked/x'), undefined);
});
