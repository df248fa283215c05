// What somebody who sees, forwards or delays datagrams cannot do to a talk, beside what
// migration.test.ts shows; and what a moved port leaves of the search for larger datagrams.

import t from 'tap';
import type { Path } from '../core.ts';
import { DATA_LIMITS } from '../data/limits.ts';
import { Rtt } from '../data/rtt.ts';
import { ms } from '../time.ts';
import { Pair, Sink, send } from '../../sim/pair.ts';

const LINK = { delayMs: 20, bytesPerSecond: 2_000_000, queueBytes: 100_000 };
const ATTACKER: Path = { host: '203.0.113.66', port: 666 };

t.test('S5001, claim 6: who forwards packets after the end steers no CLOSE away', async (t) => {
  const pair = new Pair({ faults: LINK }).open();
  const captured: Uint8Array[] = [];
  pair.filter = (from, bytes) => {
    if (from === 'callee') captured.push(bytes.slice());
    return false;
  };
  send(pair, pair.callee, new Uint8Array(100_000));
  pair.pass(100);
  const { closeAnswersMax } = DATA_LIMITS;
  t.ok(captured.length > closeAnswersMax);
  let [toPeer, toAttacker] = [0, 0];
  pair.onStray = (_from, to) => {
    if (to.host === ATTACKER.host) toAttacker++;
  };
  pair.filter = (from) => {
    if (from === 'caller') toPeer++;
    return false;
  };
  pair.caller.connection.close(pair.now, 'local');
  pair.drain();
  t.same([toPeer, toAttacker], [1, 0]);
  for (const bytes of captured.slice(0, closeAnswersMax + 1)) {
    pair.inject('caller', ATTACKER, bytes);
  }
  t.same([toPeer, toAttacker], [1, closeAnswersMax], 'who asks is answered there, so often');
  pair.pass(DATA_LIMITS.closingMsMax);
  t.equal(toAttacker, closeAnswersMax, 'what is repeated unasked does not go there');
  t.ok(toPeer > 2, `${toPeer} CLOSEs to the peer`);
});

t.test('a port that changes under a size probe does not end the search', async (t) => {
  const pair = new Pair({ config: { datagramBytesProbes: [1452] } });
  // The first try is lost, the second goes to a port that is no more.
  let tries = 0;
  let hasMoved = false;
  pair.filter = (from, bytes) => from !== 'caller' || bytes.length < 1452 || hasMoved;
  pair.open();
  const sinks = [new Sink(pair.callee), new Sink(pair.caller)];
  pair.onStray = (from, _to, bytes) => {
    if (from === 'caller' && bytes.length === 1452) tries++;
  };
  const chat = (): void => {
    pair.callee.connection.sendDatagram(new Uint8Array(50));
    pair.caller.connection.sendDatagram(new Uint8Array(50));
    pair.drain();
  };
  pair.pass(DATA_LIMITS.sizeProbeWaitMs);
  // Packets behind the first try tell that it is lost.
  for (let i = 0; i < 4; i++) {
    chat();
    pair.pass(5);
  }
  pair.pass(DATA_LIMITS.sizeProbePauseMs - 20);
  for (let i = 0; i < 100 && tries === 0; i++) {
    if (i === 0) {
      hasMoved = true;
      pair.callee.move({ host: '192.0.2.2', port: 40_001 });
    }
    chat();
    pair.pass(2);
  }
  t.equal(tries, 1, 'a probe went to the old port');
  for (let i = 0; i < 200; i++) {
    chat();
    pair.pass(10);
  }
  const { path, transport } = pair.caller.connection.state(pair.now);
  t.equal(path?.port, 40_001);
  t.equal(transport.datagramBytes, 1452);
  t.equal(sinks.length, 2);
});

t.test('another path: nothing of the round trips of the old one is left (§9.4)', async (t) => {
  const rtt = new Rtt();
  rtt.update(ms(900), 0);
  rtt.reset();
  const fresh = new Rtt();
  t.equal(rtt.lossDelay(9), fresh.lossDelay(9));
  t.same([rtt.latest, rtt.pto, rtt.hasSample], [fresh.latest, fresh.pto, fresh.hasSample]);
});
