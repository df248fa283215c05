// `ping` on real sockets: an agent answers without any setting, measured by a command; answers are
// short and so many a second; an end says what was counted.

import t from 'tap';
import { serveAgent } from '../../device/shell/agent-operations.ts';
import { PING_ANSWERS_PER_SECOND, PING_BYTES_MAX } from '../../device/services/ping.ts';
import { registeredPair } from '../../device/test/real-world.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { untilStill } from '../../protocol/test/until.ts';
import { pingTalk } from '../ping.ts';
import { CommandTalk } from '../talk.ts';
import { servedPair } from './served-pair.ts';

t.test('S1002: pings come back, are counted and measured', async (t) => {
  const { callerHome } = await servedPair(t);
  const wish = { to: 'TERM3', service: 'ping' };
  const talk = await CommandTalk.begin(wish, { home: callerHome });
  const heard: number[] = [];
  const onAnswer = (number: number): number => heard.push(number);
  const counts = await pingTalk(talk, { count: 4, intervalMs: 10, onAnswer });
  t.match(counts, { sent: 4, received: 4, lost: 0 });
  const { min, average, max } = counts.rttMs ?? { min: 0, average: 0, max: 0 };
  t.ok(min > 0 && min <= average && average <= max, 'a round trip takes time');
  t.strictSame(heard, [1, 2, 3, 4]);
  t.match(await talk.done(), { reason: 'done' });
});

t.test('a talk that ends early says what was counted until then, and why it ended', async (t) => {
  const { callerHome } = await servedPair(t);
  const wish = { to: 'TERM3', service: 'ping', bytes: 300, extend: false };
  const talk = await CommandTalk.begin(wish, { home: callerHome });
  const counts = await pingTalk(talk, { count: 5_000, intervalMs: 10 });
  t.ok(counts.received > 0 && counts.sent < 5_000, 'it stopped with the talk');
  t.equal(counts.lost, counts.sent - counts.received);
  t.match(await talk.ended.catch((error: unknown) => error), { code: 'quota', exit: 4 });
});

t.test('answers are short, and so many a second: no talk is made louder', async (t) => {
  const { caller, callee } = await registeredPair(t);
  const served = await serveAgent(callee, { log: silentLog });
  t.teardown(() => served.close());
  const session = await caller.call({ to: 'TERM3', service: 'ping' });
  const answers: number[] = [];
  session.on('datagram', (message) => answers.push(message.length));
  session.sendDatagram(new Uint8Array(PING_BYTES_MAX + 1));
  session.sendDatagram(new Uint8Array(PING_BYTES_MAX));
  const asked = 3 * PING_ANSWERS_PER_SECOND;
  for (let at = 2; at <= asked; at++) session.sendDatagram(Uint8Array.of(at));
  await untilStill(() => answers.length);
  t.equal(answers[0], PING_BYTES_MAX, 'the longest that is answered');
  t.ok(answers.length < asked, `${answers.length} answers`);
  t.ok(answers.length >= PING_ANSWERS_PER_SECOND);
  await session.close();
});
