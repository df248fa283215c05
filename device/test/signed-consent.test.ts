// Signed consent between terminals: a callee believes no request that the caller did not sign, a
// caller no answer that the callee did not sign, and neither a notice that answers something else.
// Each check on its own; all of them against a lying manager are in lying-manager.test.ts.

import t from 'tap';
import {
  encodeVerdict,
  extensionHash,
  isExtensionOf,
  isRequestOf,
  isVerdictOf,
  requestHash,
  signVerdict,
} from '../../protocol/consent/statements.ts';
import type { MessageOf } from '../../protocol/control/messages.ts';
import { decodeGrant, encodeGrant } from '../../protocol/grant.ts';
import { signed } from '../../protocol/identity/signed.ts';
import type { DeviceId, Name } from '../../protocol/ids.ts';
import { randomRequestId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { eventsOf, introduced, question, sentOf, two } from './talking.ts';
import type { Node } from './world-types.ts';
import { World } from './world.ts';

/** Whether a callee itself signed this answer, to this question. */
function isSigned(callee: Node, callerId: DeviceId, answer: Answer, request: Uint8Array): boolean {
  const context = { calleeId: callee.id, callerId, request };
  const verdict = encodeVerdict(nodeSuite, answer, context);
  return isVerdictOf(nodeSuite, callee.keys.ed25519, verdict, answer.signature);
}
type Answer = MessageOf<'allowList'>;
type Notice = MessageOf<'addressNotice'>;

t.test('S1003: a caller signs whom it asks, for what, under the nonce of this boot', async (t) => {
  const { caller } = introduced({ want: { seconds: 60 } });
  const [{ request: nonce, callerName, calleeName, service, want, signature }] = sentOf(
    caller,
    'connect',
  );
  const asked = { nonce, callerId: caller.id, callerName, calleeName, service, want };
  const { keys } = caller;
  t.equal(isRequestOf(nodeSuite, keys, asked, signature), true);
  const other = { ...asked, want: { seconds: 61 } };
  t.equal(isRequestOf(nodeSuite, keys, other, signature), false);
});

t.test('S5004: an end signs its wish for a later expiry', async (t) => {
  const { world, caller } = introduced({ want: { seconds: 10 }, extend: true });
  world.run(8);
  const [extend] = sentOf(caller, 'extend');
  const asked = { ...extend, askerId: caller.id };
  const { ed25519 } = caller.keys;
  t.equal(isExtensionOf(nodeSuite, ed25519, asked, extend.signature), true);
  t.equal(isExtensionOf(nodeSuite, ed25519, { ...asked, revision: 2 }, extend.signature), false);
});

t.test(
  'S4003: a yes, a no and a refusal to ask are signed alike, each under its own nonce',
  async (t) => {
    const world = new World();
    const caller = world.add('TERM1');
    const stranger = world.add('STRANGER');
    const callee = world.add('TERM3', { list: [{ action: 'allow', pattern: 'TERM1' }] });
    const good = question(world, caller);
    const asks = [
      good,
      question(world, stranger),
      { ...good, request: randomRequestId(world.rng), service: 'x' },
    ];
    for (const ask of asks) world.hand(callee, ask);
    world.settle();
    const answers = sentOf(callee, 'allowList');
    t.equal(answers.length, asks.length);
    for (const ask of asks) {
      const hash = requestHash(nodeSuite, { ...ask, calleeName: callee.name });
      const answer = answers.find(({ request }) => request === ask.request);
      if (answer === undefined) return t.fail('every question is answered');
      t.ok(isSigned(callee, ask.callerId, answer, hash));
      t.notOk(isSigned(callee, ask.callerId, { ...answer, approved: true }, hash));
    }
    t.equal(new Set(answers.map(({ nonce }) => nonce)).size, asks.length);
  },
);

t.test(
  'S4003: the answer about an extension is signed for the totals that were asked',
  async (t) => {
    const { world, caller, callee } = introduced({ want: { seconds: 10 }, extend: true });
    world.run(8);
    const [extend] = sentOf(caller, 'extend');
    const answer = sentOf(callee, 'allowList').at(-1);
    if (answer === undefined) return t.fail('there is an answer');
    const { session, want } = extend;
    t.ok(isSigned(callee, caller.id, answer, extensionHash(nodeSuite, { session, want })));
    const more = { session, want: { seconds: 30 } };
    t.notOk(isSigned(callee, caller.id, answer, extensionHash(nodeSuite, more)));
  },
);

t.test(
  'S4002: a request that its caller did not sign like this is counted, and gets nothing',
  async (t) => {
    const world = new World();
    const { caller, callee } = two(world);
    const other = world.add('OTHER');
    const good = question(world, caller);
    const changes: Partial<MessageOf<'ask'>>[] = [
      { callerName: 'OTHER' as Name },
      { callerId: other.id },
      { callerKeys: other.keys },
      { callerId: other.id, callerKeys: other.keys },
      { callerKeys: { ...caller.keys, x25519: other.keys.x25519 } },
      { service: 'file' },
      { want: { bytes: 1 } },
      { nonce: randomRequestId(world.rng) },
      { signature: new Uint8Array(64) },
      question(world, caller, { calleeName: 'TERM2' as Name }),
    ];
    for (const change of changes) {
      world.hand(callee, { ...good, ...change, request: randomRequestId(world.rng) });
    }
    world.settle();
    t.equal(callee.terminal.status(world.now).counters.badRequest, changes.length);
    t.equal(callee.outputs.filter(({ kind }) => kind === 'readList').length, 0, 'nothing is read');
    const answers = sentOf(callee, 'allowList');
    t.equal(answers.length, changes.length);
    t.ok(answers.every(({ entries, record }) => entries.length === 0 && record === undefined));
    t.equal(callee.sockets.size, 0);
    world.hand(callee, good);
    world.settle();
    t.match(
      sentOf(callee, 'allowList').at(-1),
      { entries: [{ pattern: 'TERM1' }] },
      'the good one',
    );
  },
);

/** A call in which one end's notice is changed; the grant is signed again. */
function told(
  which: 'caller' | 'callee',
  change: (notice: Notice, world: World) => Partial<Notice>,
): {
  world: World;
  end: Node;
} {
  const world = new World();
  const both = two(world);
  const end = both[which];
  world.alter = (to, notice) => {
    if (to !== end) return notice;
    const changed = { ...notice, ...change(notice, world) };
    return { ...changed, signature: signed(world.manager, 'grant', changed.grant) };
  };
  world.call(both.caller, 'TERM3');
  return { world, end };
}

function regranted(notice: Notice, verdict: Uint8Array): Uint8Array {
  const grant = decodeGrant(notice.grant);
  if (grant === undefined) throw new Error('a notice holds a grant');
  return encodeGrant({ ...grant, verdict });
}

/** Another verdict, signed by whom, in a grant that fits it. */
function otherVerdict(
  notice: Notice,
  by: Node,
  about: { readonly callee: Node; readonly caller: Node; readonly request: Uint8Array },
): Partial<Notice> {
  const answer: Answer = {
    kind: 'allowList',
    request: notice.request,
    mode: 'verdict',
    version: 'v',
    entries: [],
    reduced: true,
    nonce: notice.request,
    approved: false,
    signature: new Uint8Array(64),
  };
  const context = { calleeId: about.callee.id, callerId: about.caller.id, request: about.request };
  const verdict = encodeVerdict(nodeSuite, answer, context);
  return {
    verdict,
    verdictSignature: signVerdict(by.signing, verdict),
    grant: regranted(notice, nodeSuite.blake2s(verdict)),
  };
}

t.test('S1004: a caller takes no notice without the answer that its callee signed', async (t) => {
  const hashOf = ({ nodes: [caller] }: World): Uint8Array => {
    const [{ request: nonce, service, want }] = sentOf(caller, 'connect');
    const { id: callerId, name: callerName } = caller;
    const calleeName = 'TERM3' as Name;
    return requestHash(nodeSuite, { nonce, callerId, callerName, calleeName, service, want });
  };
  const of = (world: World) => ({
    caller: world.nodes[0],
    callee: world.nodes[1],
    request: hashOf(world),
  });
  const rows: readonly (readonly [string, (notice: Notice, world: World) => Partial<Notice>])[] = [
    ['no verdict', () => ({ verdict: undefined })],
    ['no signature', () => ({ verdictSignature: undefined })],
    ['bytes that are none', () => ({ verdict: Uint8Array.of(1, 2, 3) })],
    ['a false signature', () => ({ verdictSignature: new Uint8Array(64) })],
    ['a grant for another', (notice) => ({ grant: regranted(notice, new Uint8Array(32)) })],
    [
      'signed by the caller itself',
      (notice, world) => otherVerdict(notice, world.nodes[0], of(world)),
    ],
    [
      'about another caller',
      (notice, world) =>
        otherVerdict(notice, world.nodes[1], { ...of(world), caller: world.nodes[1] }),
    ],
    [
      'of another callee',
      (notice, world) =>
        otherVerdict(notice, world.nodes[1], { ...of(world), callee: world.nodes[0] }),
    ],
    [
      'of another request',
      (notice, world) =>
        otherVerdict(notice, world.nodes[1], { ...of(world), request: new Uint8Array(32) }),
    ],
  ];
  for (const [what, change] of rows) {
    const { world, end } = told('caller', change);
    t.match(eventsOf(end, 'callFailed'), [{ why: 'bad-notice' }], what);
    t.equal(end.terminal.status(world.now).counters.badNotice, 1, what);
    t.equal(end.sockets.size, 0, what);
  }
  const good = told('caller', (notice, world) => otherVerdict(notice, world.nodes[1], of(world)));
  t.equal(eventsOf(good.end, 'introduced').length, 1, 'made in the same way, signed by the callee');
});

t.test('S4004: a callee takes no notice that does not rest on its own answer', async (t) => {
  const { world, end } = told('callee', (notice) => ({
    grant: regranted(notice, new Uint8Array(32)),
  }));
  t.equal(end.terminal.status(world.now).counters.badNotice, 1);
  t.equal(eventsOf(end, 'introduced').length, 0);
  t.match(sentOf(end, 'endNotice'), [{ reason: 'protocol-error' }]);
  t.equal(end.sockets.size, 0);
});

t.test(
  'S4004: a notice has to echo the nonce of the answer, the ID of the question will not do',
  async (t) => {
    let ask: MessageOf<'ask'> | undefined;
    const world = new World();
    const { caller, callee } = two(world);
    const hand = world.hand.bind(world);
    world.hand = (node, payload, deadlineMs) => {
      if (payload.kind === 'ask') ask = payload;
      hand(node, payload, deadlineMs);
    };
    world.alter = (to, notice) =>
      to === callee && ask !== undefined ? { ...notice, request: ask.request } : notice;
    world.call(caller, 'TERM3');
    t.not(ask, undefined);
    t.equal(callee.terminal.status(world.now).counters.unexpected, 1);
    t.equal(eventsOf(callee, 'introduced').length, 0);
  },
);

t.test('S4004: a notice for an answer of an earlier boot is dropped', async (t) => {
  const world = new World();
  const { caller, callee } = two(world);
  let late: Notice | undefined;
  world.alter = (to, notice) => {
    if (to !== callee) return notice;
    late = notice;
    return undefined;
  };
  world.call(caller, 'TERM3');
  world.restart(callee);
  world.link(callee, true);
  world.settle();
  if (late === undefined) return t.fail('there was a notice');
  world.tell(callee, 'down', late);
  world.settle();
  t.equal(callee.terminal.status(world.now).counters.unexpected, 1);
  t.equal(eventsOf(callee, 'introduced').length, 0);
});

t.test('S2010 told to us: where the operator lets reasons out, the caller hears why', async (t) => {
  const world = new World();
  const caller = world.add('TERM1');
  world.answers.connect = false;
  for (const [call, why] of [
    [1, 'denied'],
    [2, undefined],
  ] as const) {
    world.call(caller, 'TERM3', { call });
    const connect = sentOf(caller, 'connect').at(-1);
    if (connect === undefined) return t.fail('a caller asks');
    const { request } = connect;
    world.tell(caller, 'down', { kind: 'refusal', request, code: 'refused', why });
    world.settle();
    t.strictSame(eventsOf(caller, 'callFailed').at(-1), {
      kind: 'callFailed',
      call,
      why: 'refused',
      reason: why,
    });
  }
});
