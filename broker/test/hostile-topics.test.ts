// Two hundred hostile topic filters, each tried in every way in which MQTT names a topic: publish,
// retain, Will, subscribe (alone and among up to a hundred, allowed ones first), forward, `$SYS`.
// What counts is the effect on anybody else, and it is none. On a real Aedes, in raw packets.

import t, { type Test } from 'tap';
import { encodeMessage } from '../../protocol/control/codec.ts';
import { topic } from '../../protocol/control/topics.ts';
import { IS_PROOF } from '../../protocol/test/dose.ts';
import { until, untilStill } from '../../protocol/test/until.ts';
import { type Party, forBroker, mayPublish, mayReceive, maySubscribe } from '../rights.ts';
import type { BrokerShell } from '../shell/broker-shell.ts';
import { makeTerminal } from './parties.ts';
import { RawClient, publish, terminalConnect } from './raw-packets.ts';
import { type Wire, attend, manage, manager, start } from './real-broker.ts';
import { recordOf, requestOf } from './virtual-broker.ts';

const COUNT = 200;
const FILTERS_MAX = 100;
/** Every one is tried in a proof; else every fifth, where each takes a login of its own. */
const STRIDE = IS_PROOF ? 1 : 5;

const ATTACKER = makeTerminal(manager, 11);
const VICTIM = makeTerminal(manager, 13);
const PARTY: Party = { of: 'terminal', device: ATTACKER.device };
const KINDS = ['address', 'up', 'allow-list', 'trigger', 'call', 'down'] as const;
const OWN_CALL = topic('call', ATTACKER.device);

/** What nobody may use who is the attacker: neither for publishing nor for subscribing. */
function hostileFilters(): (string | Uint8Array)[] {
  const me = ATTACKER.device;
  const you = VICTIM.device;
  const bent = (id: string): string[] => [
    id.toUpperCase(),
    ` ${id}`,
    `${id} `,
    `${id}/`,
    `/${id}`,
    `${id}/#`,
    `${id}/+`,
    `${id}\0`,
    `\u{feff}${id}`,
    `${id}\u{200b}`,
    id.slice(1),
    `${id}a`,
    `${id.slice(0, -1)}+`,
    `${id.slice(0, -1)}#`,
    `${id}/../${you}`,
    `%2e/${id}`,
  ];
  const list: (string | Uint8Array)[] = [
    ...'# + +/# /# #/ +/+ +/+/+/+ /+ // /'.split(' '),
    ...'nakodo nakodo/# nakodo/1 nakodo/1/# nakodo/+/call/+ nakodo/1/+/+ nakodo/1/+/#'.split(' '),
    '$SYS/#',
    '$SYS/+/new/clients',
    '$SYS/x/new/clients',
    '$SYS/x/heartbeat',
    '$SYS',
    '$SYS/x/disconnect/clients',
    '$SYS/x/new/subscribes',
    `$SYS/${you}/new/clients`,
    '$share/g/#',
    `$share/g/nakodo/1/call/${you}`,
    `$queue/nakodo/1/call/${you}`,
    '$share/g/nakodo/1/up/+',
    '$exclusive/nakodo/1/up/+',
    '$delayed/1/nakodo/1/revoked',
    '',
    '\0',
    ' ',
    'constructor',
    '__proto__',
    'toString',
    'hasOwnProperty',
    '\u{feff}#',
    'nakodo/1/query',
    'nakodo/1/revoked',
    'nakodo/1/answer',
    `nakodo/1/answer/${manager.id}`,
    'nakodo/1/answer/+',
    'nakodo/1/answer/#',
    'nakodo/1/query/+',
    `nakodo/1/answer/${you}`,
    'nakodo/1/up/+',
    'nakodo/1/allow-list/+',
    'nakodo/1/trigger/+/state',
    `nakodo/1/trigger/${you}/state`,
    `nakodo/1/trigger/${me}/state`,
    `nakodo/1/trigger/${me}`,
    'a/'.repeat(60),
    '/'.repeat(100),
    '+/'.repeat(40),
    `${'a'.repeat(400)}`,
    Uint8Array.of(0xff, 0xfe),
    Uint8Array.of(0xc0, 0x80),
    Uint8Array.from([...Buffer.from('nakodo/1/call/'), 0xed, 0xa0, 0x80]),
    Uint8Array.from([...Buffer.from(`nakodo/1/up/${me}`), 0xc0, 0xaf]),
  ];
  for (const kind of KINDS) {
    list.push(`nakodo/1/${kind}/${you}`, `nakodo/1/${kind}/+`, `nakodo/1/${kind}/#`);
    list.push(`nakodo/1/${kind}`, `nakodo/2/${kind}/${me}`, `NAKODO/1/${kind}/${me}`);
    list.push(`nakodo/01/${kind}/${me}`, `/nakodo/1/${kind}/${me}`, `nakodo//1/${kind}/${me}`);
    list.push(`nakodo/1/${kind}/${me}/${you}`, `nakodo/1/${kind}//${me}`);
    if (kind !== 'trigger' && kind !== 'down')
      list.push(...bent(me).map((id) => `nakodo/1/${kind}/${id}`));
  }
  list.push(...bent(you).map((id) => `nakodo/1/down/${id}`));
  return [...new Set(list)];
}

const HOSTILE = hostileFilters().slice(0, COUNT);
const SOME = HOSTILE.filter((_, at) => at % STRIDE === 0);

/** A broker with a manager and a victim, and what the attacker has done to them: nothing yet. */
class Scene {
  readonly broker: BrokerShell;
  readonly operator: Wire;
  readonly victim: Wire;
  /** Everything that reached the attacker's connections on topics that are not its own. */
  readonly leaked: string[] = [];

  constructor(broker: BrokerShell, operator: Wire, victim: Wire) {
    this.broker = broker;
    this.operator = operator;
    this.victim = victim;
  }

  async attacker(): Promise<RawClient> {
    const client = new RawClient(this.broker.port);
    if (!(await client.enter(terminalConnect(ATTACKER)))) throw new Error('not let in');
    return client;
  }

  note(client: RawClient): void {
    const own = [OWN_CALL, topic('down', ATTACKER.device)];
    this.leaked.push(...client.heard.filter((name) => !own.includes(name)));
  }

  /** How many effects there were: on what others hear, who is there, what the broker knows. */
  async effects(): Promise<number> {
    await untilStill(() => this.operator.heard.length + this.victim.heard.length);
    const { broker, operator, victim } = this;
    const {
      records,
      triggersWaiting,
      queriesWaiting,
      handed,
      endedRevoked,
      listsRefused,
      renewed,
    } = broker.stats();
    const known = records + triggersWaiting + queriesWaiting + handed + renewed;
    const gone = Number(operator.closed) + Number(victim.closed);
    return (
      operator.heard.length +
      victim.heard.length +
      gone +
      known +
      endedRevoked +
      listsRefused +
      this.leaked.length
    );
  }
}

async function scene(t: Test): Promise<Scene> {
  const broker = await start();
  t.teardown(() => broker.close());
  const operator = await manage(broker.port);
  const victim = await attend(broker.port, VICTIM);
  await victim.next('polled');
  return new Scene(broker, operator, victim);
}

/** Payloads that would do harm in the wrong place: a client ID for `$SYS`, messages of ours. */
const PAYLOADS = [
  Buffer.from(VICTIM.device),
  Buffer.from(
    encodeMessage({ kind: 'addressQuery', request: requestOf(1), wanted: [], waitMs: 1000 }),
  ),
  Buffer.from(
    encodeMessage({
      kind: 'trigger',
      request: requestOf(2),
      deadlineMs: 60_000,
      payload: Uint8Array.of(1),
    }),
  ),
  Buffer.from(encodeMessage({ kind: 'address', record: recordOf(1), candidates: [] })),
  Buffer.from(encodeMessage(manager.revoked(0, { devices: [VICTIM.device] }))),
];

t.test('there are two hundred hostile filters, and none is the attacker’s by right', async (t) => {
  t.equal(HOSTILE.length, COUNT);
  for (const filter of HOSTILE) {
    const name = Buffer.from(filter as Uint8Array).toString('utf8');
    t.notOk(maySubscribe(PARTY, { topic: name, qos: 0 }), name);
    t.notOk(mayPublish(PARTY, { topic: name, qos: 0, retain: false }), name);
    t.notOk(mayReceive(PARTY, name), `forward: ${name}`);
  }
  t.ok(maySubscribe(PARTY, { topic: OWN_CALL, qos: 0 }), 'the control is');
});

t.test('hostile topics × publish, with and without retain: no effect', async (t) => {
  const stage = await scene(t);
  let tried = 0;
  for (const [at, name] of SOME.entries())
    for (const retain of [false, true]) {
      const client = await stage.attacker();
      client.send(publish(name, PAYLOADS[at % PAYLOADS.length], { qos: at % 3, retain }));
      t.ok(await client.isClosed(), 'the publisher is thrown out');
      stage.note(client);
      tried += 1;
    }
  const client = await stage.attacker();
  client.send(publish(topic('up', ATTACKER.device), PAYLOADS[3], { retain: true }));
  t.ok(await client.isClosed(), 'nor may it retain on its own topic');
  t.equal(await stage.effects(), 0);
  const fresh = await manage(stage.broker.port);
  await untilStill(() => fresh.heard.length);
  t.equal(fresh.heard.length, 0, 'nothing was retained');
  t.comment(`${tried} hostile publishes, effects 0`);
  const good = await stage.attacker();
  good.send(publish(topic('up', ATTACKER.device), PAYLOADS[3]));
  await until(() => fresh.heard.length === 1, 'the control to arrive');
});

t.test('hostile topics × Will: no effect', async (t) => {
  const stage = await scene(t);
  for (const [at, name] of [...SOME, topic('up', ATTACKER.device)].entries()) {
    const client = new RawClient(stage.broker.port);
    const will = { topic: name, retain: at % 2 === 0, qos: at % 3 };
    t.notOk(await client.enter(terminalConnect(ATTACKER, will)), 'is not let in');
    t.ok(await client.isClosed());
  }
  t.equal(await stage.effects(), 0);
  t.ok(await (await stage.attacker()).subscribe(1, [OWN_CALL]), 'the control is let in');
});

t.test('hostile topics × subscribe, alone: none is granted', async (t) => {
  const stage = await scene(t);
  let client = await stage.attacker();
  let granted = 0;
  for (const [at, filter] of HOSTILE.entries()) {
    const codes = await client.subscribe(at + 1, [filter]);
    granted += codes?.filter((code) => code !== 128).length ?? 0;
    if (codes !== undefined) continue;
    stage.note(client);
    client = await stage.attacker();
  }
  t.equal(granted, 0);
  await spoken(stage, client);
  stage.note(client);
  t.strictSame(stage.leaked, []);
});

t.test('hostile topics × subscribe, behind allowed ones: only those are granted', async (t) => {
  const stage = await scene(t);
  let client = await stage.attacker();
  const sizes = new Set<number>();
  for (const [at, filter] of HOSTILE.entries()) {
    const size = (at % (FILTERS_MAX - 1)) + 1;
    const crowd = Array.from({ length: size }, (_, n) => HOSTILE[(at + n * 7) % COUNT]);
    // One that is no filter at all ends the connection, and hides the others.
    const isForm = (each: string | Uint8Array): boolean =>
      typeof each === 'string' && each !== '' && !/\0|#.|[^/][#+]|\+[^/]/.test(each);
    const tail = [...crowd.slice(1).filter(isForm), filter];
    const filters = [OWN_CALL, ...tail];
    sizes.add(filters.length);
    const codes = await client.subscribe(at + 1, filters);
    if (codes === undefined) {
      stage.note(client);
      client = await stage.attacker();
      continue;
    }
    const all = codes.flatMap((code, index) => (code === 128 ? [] : [index]));
    if (all.length !== 1 || all[0] !== 0) t.strictSame(all, [0], String(filter));
  }
  t.ok(Math.max(...sizes) > 70, `up to ${Math.max(...sizes)} filters in one packet`);
  await client.subscribe(COUNT + 1, [OWN_CALL]);
  await spoken(stage, client);
  stage.note(client);
  t.strictSame(stage.leaked, []);
  t.ok(client.heard.includes(OWN_CALL), 'the control arrives');
});

/** Everybody says everything that may be said; returns when the attacker has heard its own. */
async function spoken(stage: Scene, client: RawClient): Promise<void> {
  const { operator, victim } = stage;
  const before = client.heard.length;
  await client.subscribe(COUNT + 2, [OWN_CALL]);
  victim.say(topic('up', VICTIM.device), { kind: 'polled', handed: 1 });
  victim.say(topic('allow-list', VICTIM.device), { kind: 'polled', handed: 2 });
  victim.say(topic('address', VICTIM.device), {
    kind: 'address',
    record: recordOf(3),
    candidates: [],
  });
  operator.say(topic('down', VICTIM.device), { kind: 'polled', handed: 3 });
  operator.say('nakodo/1/query', {
    kind: 'addressQuery',
    request: requestOf(5),
    wanted: [{ device: VICTIM.device, record: recordOf(3) }],
    waitMs: 0,
  });
  for (const device of [VICTIM.device, ATTACKER.device])
    operator.say(topic('trigger', device), {
      kind: 'trigger',
      request: requestOf(4),
      deadlineMs: 5000,
      payload: Uint8Array.of(1),
    });
  await victim.next('call');
  await operator.next('addressAnswer');
  await until(() => client.heard.length > before + 1, 'the attacker’s own call');
  await untilStill(() => client.heard.length);
}

t.test('what the broker consumes is forwarded to nobody, whoever asks', async (t) => {
  const parties: readonly Party[] = [PARTY, { of: 'manager', client: manager.id }];
  const consumed = ['address', 'trigger'].map((of) => `nakodo/1/${of}/${VICTIM.device}`);
  for (const name of [...consumed, 'nakodo/1/query', 'nakodo/1/revoked']) {
    t.ok(forBroker(name));
    for (const party of parties) t.notOk(mayReceive(party, name), `${party.of}: ${name}`);
  }
});
