// Key shares (ADR 0021): with the ephemeral keys of both ends at hand the handshake needs no packet,
// and comes to what it comes to on the path; and what a manager that lies about them achieves, which
// is no talk.

import fc from 'fast-check';
import t from 'tap';
import type { DhKey } from '../crypto.ts';
import type { Role } from '../data/connection-types.ts';
import { Handshake } from '../data/handshake.ts';
import { PROBE_BYTES, Probes } from '../data/probe.ts';
import type { SessionId } from '../ids.ts';
import { entropy } from '../io/entropy.ts';
import { nodeSuite } from '../io/node-crypto.ts';
import { dose } from './dose.ts';
import { hex } from './vectors.ts';

const SESSION = 'abcdefghijklmnopqrstuvwxyz' as SessionId;
const SESSION_KEY = new Uint8Array(32).fill(5);
const PROLOGUE = Uint8Array.of(1, 2, 3);
const LOW_ORDER = new Uint8Array(32);
const STATIC: Readonly<Record<Role, DhKey>> = {
  caller: nodeSuite.dhKey(new Uint8Array(32).fill(11)),
  callee: nodeSuite.dhKey(new Uint8Array(32).fill(22)),
};
const keyOf = (seed: Uint8Array): DhKey => nodeSuite.dhKey(seed);

/** One end; `remote`: the share that it was told. */
function end(role: Role, ephemeral: DhKey, remote?: Uint8Array): Handshake {
  const peer: Role = role === 'caller' ? 'callee' : 'caller';
  return new Handshake({
    role,
    suite: nodeSuite,
    prologue: PROLOGUE,
    sessionKey: SESSION_KEY,
    localKey: STATIC[role],
    remotePublicKey: STATIC[peer].publicKey,
    ephemeral,
    remoteEphemeral: remote,
  });
}

/** Both ends after an initiation and a response. */
function onThePath(callerKey: DhKey, calleeKey: DhKey): readonly [Handshake, Handshake] {
  const [caller, callee] = [end('caller', callerKey), end('callee', calleeKey)];
  const packet = new Uint8Array(53);
  caller.writeInitiation(1, packet);
  callee.readInitiation(packet);
  callee.writeResponse(2, packet);
  caller.readResponse(packet);
  return [caller, callee];
}

const probesOf = (role: Role, handshake: Handshake): Probes => {
  const { secrets } = handshake;
  const options = { suite: nodeSuite, session: SESSION, sessionKey: SESSION_KEY, secrets, role };
  return new Probes({ ...options, rng: entropy });
};

/** Whether a probe of the one is a probe to the other. */
function isHeard(from: Probes, to: Probes): boolean {
  const datagram = new Uint8Array(PROBE_BYTES);
  from.write(datagram, { kind: 'probe', token: new Uint8Array(8).fill(7) });
  return to.read(datagram) !== undefined;
}

const seed = fc.uint8Array({ minLength: 32, maxLength: 32 });

t.test('claim 7: shares come to the secrets of the handshake on the path', (t) => {
  const agree = fc.property(seed, seed, (one, other) => {
    const [callerKey, calleeKey] = [keyOf(one), keyOf(other)];
    const caller = end('caller', callerKey, calleeKey.publicKey);
    const callee = end('callee', calleeKey, callerKey.publicKey);
    const [asker, answerer] = onThePath(callerKey, calleeKey);
    const words = ({ secrets }: Handshake): string =>
      secrets === undefined
        ? 'none'
        : [secrets.send, secrets.receive, secrets.hash].map(hex).join();
    return (
      words(caller) !== 'none' &&
      words(caller) === words(asker) &&
      words(callee) === words(answerer) &&
      isHeard(probesOf('caller', caller), probesOf('callee', callee)) &&
      isHeard(probesOf('callee', callee), probesOf('caller', caller))
    );
  });
  t.doesNotThrow(() => fc.assert(agree, { numRuns: dose(40) }));
  t.end();
});

t.test('claim 7: a share of the manager’s own makes no talk with anybody', (t) => {
  const [callerKey, calleeKey, lie] = [1, 2, 3].map((fill) => keyOf(new Uint8Array(32).fill(fill)));
  const honest = {
    caller: end('caller', callerKey, calleeKey.publicKey),
    callee: end('callee', calleeKey, callerKey.publicKey),
  };
  const cheated = {
    caller: end('caller', callerKey, lie.publicKey),
    callee: end('callee', calleeKey, lie.publicKey),
  };
  t.ok(
    isHeard(probesOf('callee', honest.callee), probesOf('caller', honest.caller)),
    'the control',
  );
  for (const [callee, caller] of [
    [honest.callee, cheated.caller],
    [cheated.callee, honest.caller],
    [cheated.callee, cheated.caller],
  ]) {
    t.notOk(isHeard(probesOf('callee', callee), probesOf('caller', caller)));
    t.notOk(isHeard(probesOf('caller', caller), probesOf('callee', callee)));
  }
  // The manager has the session key and its own share, and no static key of either: the best that
  // it can be is an end with another static key.
  const inTheMiddle = new Handshake({
    role: 'callee',
    suite: nodeSuite,
    prologue: PROLOGUE,
    sessionKey: SESSION_KEY,
    localKey: lie,
    remotePublicKey: STATIC.caller.publicKey,
    ephemeral: lie,
    remoteEphemeral: callerKey.publicKey,
  });
  t.notOk(isHeard(probesOf('callee', inTheMiddle), probesOf('caller', cheated.caller)));
  t.notOk(isHeard(probesOf('caller', cheated.caller), probesOf('callee', inTheMiddle)));
  t.end();
});

t.test('claim 7: an old share, or none that is a key, makes no keys that anybody shares', (t) => {
  const [callerKey, calleeKey, former] = [1, 2, 9].map((fill) =>
    keyOf(new Uint8Array(32).fill(fill)),
  );
  const told = end('caller', callerKey, former.publicKey);
  const callee = end('callee', calleeKey, callerKey.publicKey);
  t.notOk(isHeard(probesOf('callee', callee), probesOf('caller', told)), 'of another talk');
  for (const role of ['caller', 'callee'] as const) {
    const refused = end(role, role === 'caller' ? callerKey : calleeKey, LOW_ORDER);
    t.equal(refused.secrets, undefined, 'of low order');
    if (role === 'caller') t.equal(refused.writeInitiation(1, new Uint8Array(53)), 0, 'for good');
  }
  t.equal(end('caller', callerKey, new Uint8Array(31)).secrets, undefined, 'too short');
  t.end();
});
