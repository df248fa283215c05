// A small part of `make lab`, with the real program behind real boxes: what theory allows is
// direct, by the STUN and the meeting of processes in namespaces; the rest goes through coturn; and
// a talk outlives the rebind of its router. Needs root, nftables, conntrack, cc, coturn.

import { readFileSync } from 'node:fs';
import t from 'tap';
import { sendBulk } from '../lab/bulk.ts';
import { callOnce } from '../lab/calls.ts';
import { settingPath, shippedSettings } from '../lab/kernel-settings.ts';
import { Lab } from '../lab/lab.ts';
import { matrixFaults, measureMatrix, planOf } from '../lab/matrix.ts';
import { boxesMissing, linkMissing } from '../lab/namespaces.ts';
import { Terminals } from '../lab/terminals.ts';

const skip = boxesMissing() ?? linkMissing() ?? Terminals.relayMissing() ?? false;
const MEGABYTES = 8;
const KERNEL = ['tcp_timestamps', 'tcp_thin_linear_timeouts', 'tcp_congestion_control'].map(
  (name) => `/proc/sys/net/ipv4/${name}`,
);

t.test('pairs of boxes: direct where theory has it, else relayed', { skip }, async (t) => {
  const callers = ['full', 'symmetric'] as const;
  const cells = await measureMatrix({ callers, callees: ['symmetric'] }, () => {});
  // How long it took is for make lab: here others may have the machine.
  const found = cells.map(({ caller, callee, call }) => {
    const direct = call.ways.some(({ way }) => way === 'direct');
    return [caller, callee, direct ? 'direct' : call.lastWay];
  });
  t.strictSame(found, [
    ['full', 'symmetric', 'direct'],
    ['symmetric', 'symmetric', 'relay'],
  ]);
  t.strictSame(
    matrixFaults([
      { ...cells[1], call: { ...cells[1].call, setupMs: undefined, failure: 'gone' } },
    ]),
    ['symmetric → symmetric: no path: gone'],
  );
});

t.test('a file arrives whole over the rebind of a router', { skip }, async (t) => {
  const lab = await Lab.open(planOf({ A: 'port', B: 'port' }));
  t.teardown(() => lab.close());
  const terminals = await Terminals.start(lab, {
    server: 'server',
    terminals: ['A', 'B'],
    hasRelay: false,
  });
  t.teardown(() => terminals.close());
  t.strictSame(
    ['A', 'B'].map((name) => lab.udp(name).sent),
    [0, 0],
    'who waits sends no UDP',
  );
  const call = await callOnce(terminals, { from: 'A', to: 'B', holdSeconds: 0 });
  t.equal(call.lastWay, 'direct', call.failure ?? '');
  t.ok(lab.udp('A').sent > 0);
  const happen = (): void => lab.rebind('Ax0', 'port');
  const bulk = await sendBulk(terminals, { from: 'A', to: 'B', megabytes: MEGABYTES, happen });
  t.equal(bulk.said.exit, 0, bulk.said.stdout);
  t.ok(bulk.isWhole);
  t.ok(bulk.stallMs > bulk.usualGapMs || bulk.stallMs > 0, `a stall of ${bulk.stallMs} ms`);
});

t.test('TCP is as servers and terminals are installed, in the lab only', { skip }, async (t) => {
  const before = KERNEL.map((path) => readFileSync(path, 'utf8'));
  const lab = await Lab.open(planOf({ A: 'port', B: 'port' }));
  t.teardown(() => lab.close());
  const plan = { server: 'server', terminals: ['A', 'B'], hasRelay: false };
  const terminals = await Terminals.start(lab, plan);
  t.teardown(() => terminals.close());
  for (const [host, of] of [
    ['server', 'server'],
    ['A', 'terminal'],
    ['B', 'terminal'],
  ] as const) {
    for (const [name, value] of shippedSettings(of)) {
      const { stdout } = await lab.run(host, 'cat', [settingPath(name)]);
      t.equal(stdout.trim(), value, `${host}: ${name}`);
    }
    // An option of each segment (RFC 7323); `ss` names it, beside `sack`, which is to stay.
    const { stdout } = await lab.run(host, 'ss', ['-tinoH', 'state', 'established']);
    t.match(stdout, / sack /, `${host} has a connection`);
    t.notMatch(stdout, / ts /, `${host}: the server alone has no time stamps, and so nobody`);
  }
  t.strictSame(
    KERNEL.map((path) => readFileSync(path, 'utf8')),
    before,
    'the machine has its own',
  );
});
