// Terminals whose networks let no UDP through talk all the same: the real program reaches coturn
// over TCP; and a relay that falls silent in mid-session is noticed, and found again, without a
// busy loop. Needs root, nftables, conntrack, cc, coturn.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { until } from '../../protocol/test/until.ts';
import { callOnce } from '../lab/calls.ts';
import { ACCESS, Lab } from '../lab/lab.ts';
import { planOf } from '../lab/matrix.ts';
import { boxesMissing, linkMissing } from '../lab/namespaces.ts';
import { Terminals } from '../lab/terminals.ts';

// They wait for timers: both at once.
t.jobs = 2;
const skip = boxesMissing() ?? linkMissing() ?? Terminals.relayMissing() ?? false;
const inLab = { skip, buffered: true };
/** Milliseconds from the call to the path, at most. */
const SETUP_MS_MAX = 5_000;
/** Milliseconds after which a relay that falls silent counts as lost, on a busy machine. */
const LOST_MS_MAX = 10_000;
/** Of the kernel's clock for /proc, everywhere on Linux. */
const TICKS_A_SECOND = 100;

/** Seconds of processor time that a terminal's agent has used. */
function cpuSeconds(terminals: Terminals, name: string): number {
  const words = readFileSync(`/proc/${terminals.pid(name)}/stat`, 'utf8')
    .split(') ')[1]
    .split(' ');
  return (Number(words[11]) + Number(words[12])) / TICKS_A_SECOND;
}

t.test('no IPv4 anywhere, UDP to the server alone, or none', inLab, async (t) => {
  const boxes = { wallA: { kind: 'firewall' }, wallB: { kind: 'firewall' } } as const;
  const hosts = {
    server: { families: 'ipv6' },
    A: { behind: ['wallA'], families: 'ipv6' },
    B: { behind: ['wallB'], families: 'ipv6' },
  } as const;
  const lab = await Lab.open({ boxes, hosts, link: ACCESS });
  t.teardown(() => lab.close());
  const plan = { server: 'server', terminals: ['A', 'B'], hasRelay: true, isIpv6: true };
  const terminals = await Terminals.start(lab, plan);
  t.teardown(() => terminals.close());
  for (const passes of ['server', undefined]) {
    for (const wall of ['wallA', 'wallB']) lab.blockUdp(wall, true, passes);
    const call = await callOnce(terminals, { from: 'A', to: 'B', holdSeconds: 0 });
    t.equal(call.lastWay, 'relay', call.failure ?? '');
    t.ok((call.setupMs ?? Infinity) <= SETUP_MS_MAX, `${passes ?? 'nowhere'}: ${call.setupMs} ms`);
    t.comment(`UDP to ${passes ?? 'nobody'}: ${call.setupMs} ms`);
  }
});

t.test('UDP blocked at one end, or at both: through a relay', inLab, async (t) => {
  const lab = await Lab.open(planOf({ A: 'blocked', B: 'blocked', C: 'port' }));
  t.teardown(() => lab.close());
  const names = ['A', 'B', 'C'];
  const terminals = await Terminals.start(lab, {
    server: 'server',
    terminals: names,
    hasRelay: true,
  });
  t.teardown(() => terminals.close());
  const calls = await Promise.all(
    [
      ['A', 'C'],
      ['C', 'B'],
    ].map(([from, to]) => callOnce(terminals, { from, to, holdSeconds: 0 })),
  );
  calls.push(await callOnce(terminals, { from: 'A', to: 'B', holdSeconds: 0 }));
  for (const call of calls) {
    t.equal(call.lastWay, 'relay', call.failure ?? '');
    t.ok((call.setupMs ?? Infinity) <= SETUP_MS_MAX, `${call.setupMs} ms`);
  }
  t.equal(lab.udp('A').heard, 0, 'no UDP came to who is blocked');

  // The relay is stopped, not ended: its connections stay, and say nothing.
  const relay = terminals.pid('relay');
  const before = cpuSeconds(terminals, 'A') + cpuSeconds(terminals, 'B');
  const begun = performance.now();
  const ping = terminals.begin('A', ['ping', 'B', '--count', '52', '--interval', '200ms']);
  let said = '';
  ping.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  // The log keeps its last lines only.
  const isLogged = (event: string, since: number, name: 'A' | 'B' = 'A'): boolean =>
    terminals
      .complaints(name)
      .split('\n')
      .filter((line) => line.includes(`"event":"${event}"`))
      .some((line) => Date.parse(/"time":"([^"]+)"/.exec(line)?.[1] ?? '') >= since);
  const start = Date.now();
  const isOpen = (): boolean => isLogged('way', start) && isLogged('way', start, 'B');
  await until(isOpen, 'the talk has a way at both ends');
  process.kill(relay, 'SIGSTOP');
  t.teardown(() => process.kill(relay, 'SIGCONT'));
  const stopped = Date.now();
  await until(() => isLogged('relay-lost', stopped), 'the silence is noticed');
  t.ok(Date.now() - stopped <= LOST_MS_MAX, `after ${Date.now() - stopped} ms`);
  process.kill(relay, 'SIGCONT');
  await until(() => isLogged('way', stopped), 'another way');
  const [exit] = (await once(ping, 'exit')) as [number | null];
  t.equal(exit, 0, said);
  t.match(said, /"received":[1-9]/);
  const used = cpuSeconds(terminals, 'A') + cpuSeconds(terminals, 'B') - before;
  const elapsed = (performance.now() - begun) / 1_000;
  t.ok(used < elapsed / 4, `${used} s of processor time in ${elapsed} s`);
});
