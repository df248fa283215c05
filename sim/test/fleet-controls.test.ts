// What a fleet has to see, shown to it: bytes that were changed, an introduction against the
// policy, a process that dies, a line that is cut.

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import type { NakodoError } from '../../protocol/errors.ts';
import { seededRng } from '../../protocol/random.ts';
import { Calls } from '../fleet/calls.ts';
import { Child } from '../fleet/child.ts';
import { FleetTerminal } from '../fleet/fleet-terminal.ts';
import { deliver } from '../fleet/fleet.ts';
import { Line } from '../fleet/line.ts';
import { checkLog } from '../fleet/log-check.ts';
import { planOf } from '../fleet/orders.ts';
import { Picks } from '../fleet/picks.ts';
import { parseShares } from '../fleet/profiles.ts';
import { startServers } from '../fleet/servers.ts';
import { Tally } from '../fleet/tally.ts';
import { allowing, openTown } from '../fleet/town.ts';

const ENV = { ...process.env, NODE_OPTIONS: undefined };
const PROGRAM = join(dirname(dirname(import.meta.dirname)), 'cli', 'main.js');

t.test('positive control: bytes that were changed on the way are seen', async (t) => {
  const town = await openTown();
  t.teardown(() => town.close());
  const [one, three] = [
    await town.enrol('TERM1', ''),
    await town.enrol('TERM3', allowing('TERM1')),
  ];
  const [caller, callee] = [await town.start(one), await town.start(three)];
  callee.onIncoming((session) =>
    session.on('stream', (stream) => {
      stream.resume();
      stream.once('end', () => stream.end(new Uint8Array(32)));
    }),
  );
  const talk = await caller.call({ to: 'TERM3', service: 'file' });
  t.strictSame(await deliver(talk, 100_000, 1), { kind: 'damaged' });
  callee.onIncoming((session) => session.on('stream', () => session.finish('local')));
  const cut = await caller.call({ to: 'TERM3', service: 'file' });
  t.match(await deliver(cut, 100_000, 1), { kind: 'cut', code: 'local' });
});

t.test('positive control: an introduction against the policy is seen by three', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'nk-'));
  const children: Child[] = [];
  t.teardown(async () => {
    await Promise.all(children.map((child) => child.end()));
    rmSync(folder, { recursive: true, force: true });
  });
  const servers = await startServers({
    program: PROGRAM,
    folder,
    isPlain: true,
    isApart: false,
    env: ENV,
    onChild: (child) => children.push(child),
    onDeath: (error) => t.fail(error.message),
  });
  // Its lists let everybody in; its table says that nobody may.
  const shares = parseShares('always-on=1');
  const open = planOf({ kind: 'random', terminals: 2, shares, permitPercent: 100, seed: 1 });
  const plan = { ...open, verdict: () => 'forbidden' as const };
  const tally = new Tally();
  const rng = seededRng(1);
  const calls = new Calls({ plan, tally, rng, bytesMax: 100, waitMs: 10_000, pollSeconds: 1 });
  const ticket = await servers.ticket(2);
  const terminals = [0, 1].map(
    (at) => new FleetTerminal({ plan, at, folder, pollSeconds: 1, calls }),
  );
  t.teardown(() => Promise.all(terminals.map((terminal) => terminal.stop())));
  for (const terminal of terminals) {
    await terminal.enrol(ticket);
    await terminal.start();
    await terminal.agent?.registered;
  }
  const { agent } = terminals[0];
  if (agent === undefined) throw new Error('it was started');
  await calls.make(agent, { caller: 0, callee: 1, service: 'echo-hash' }, performance.now());
  const { counts, faults } = tally.record();
  t.equal(counts.wronglyIntroduced, 2, 'by the caller and by the callee');
  t.match(faults.wronglyIntroduced.toSorted(), [/^at c01-t1: c00-t0 came in/, /^c00-t0 → c01-t1/]);
  t.match(await checkLog(servers.home, plan), { isVerified: true, begun: 1, forbidden: 1 });
  t.match(await checkLog(servers.home, open), { isVerified: true, begun: 1, forbidden: 0 });
  const picks = new Picks({ plan: open, active: 2, calls, rng, permitPercent: 100, terminals });
  t.equal(picks.call(0).callee, 1, 'nobody calls itself');
});

t.test('a process that dies is told of, and its orders fail', async (t) => {
  const deaths: NakodoError[] = [];
  const child = new Child({
    name: 'terminals 1',
    file: join(dirname(import.meta.dirname), 'fleet', 'fleet-process.js'),
    execArgv: ['--expose-gc'],
    env: ENV,
    onDeath: (error) => deaths.push(error),
  });
  t.teardown(() => child.end());
  t.match(await child.ask({ kind: 'gauge' }), { rssBytes: Number });
  await t.rejects(child.ask({ kind: 'enrol' }), { message: /nobody is cast yet/ });
  // It must not answer before it dies.
  process.kill(child.pid ?? -1, 'SIGSTOP');
  const asked = child.ask({ kind: 'gauge' });
  process.kill(child.pid ?? -1, 'SIGKILL');
  await t.rejects(asked, { code: 'process-died', message: /SIGKILL/ });
  t.equal(deaths.length, 1);
  await t.rejects(child.ask({ kind: 'gauge' }), { code: 'process-died' });
});

t.test('a line that is cut carries nothing until it is mended', async (t) => {
  const broker = createServer((socket) => socket.pipe(socket));
  broker.listen(0, '127.0.0.1');
  await once(broker, 'listening');
  const place = broker.address();
  const port = typeof place === 'object' ? place?.port : undefined;
  const line = await Line.open(`mqtt://127.0.0.1:${port}`);
  t.teardown(() => {
    line.close();
    broker.close();
  });
  const own = Number(new URL(line.url).port);
  const one = createConnection(own, '127.0.0.1');
  one.write('hello');
  t.equal(String((await once(one, 'data'))[0]), 'hello');
  line.cut();
  await once(one, 'close');
  const two = createConnection(own, '127.0.0.1');
  two.on('error', () => {});
  await once(two, 'close');
  line.mend();
  const three = createConnection(own, '127.0.0.1');
  three.write('again');
  t.equal(String((await once(three, 'data'))[0]), 'again');
  three.destroy();
});
