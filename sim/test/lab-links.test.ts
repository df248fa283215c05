// The links of the lab: delay both ways, loss by a seed, changed while packets pass; a phone that
// changes its uplink; what is left of a lab that is closed, and of one that was killed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ACCESS, Lab } from '../lab/lab.ts';
import { boxesMissing, linkMissing } from '../lab/namespaces.ts';
import { Prober } from '../lab/prober.ts';

const skip = linkMissing() ?? boxesMissing() ?? false;
const LAB = join(import.meta.dirname, '..', 'lab', 'lab.js');
const namespaces = (): readonly string[] =>
  existsSync('/run/netns') ? readdirSync('/run/netns') : [];

t.test('links delay and lose as asked, also when asked anew', { skip }, async (t) => {
  const lab = await Lab.open({ hosts: { a: {}, b: {} }, link: ACCESS });
  t.teardown(() => lab.close());
  const ping = async (count: number): Promise<{ lost: number; ms: number }> => {
    const words = ['-n', '-q', '-i', '0.01', '-W', '1', '-c', String(count), lab.side('b').host];
    const { stdout } = await lab.run('a', 'ping', words);
    const [, percent] = /([\d.]+)% packet loss/.exec(stdout) ?? [];
    const [, least] = /min\/avg\/max\/mdev = ([\d.]+)/.exec(stdout) ?? [];
    return { lost: Number(percent) / 100, ms: Number(least) };
  };
  const plain = await ping(20);
  t.equal(plain.lost, 0);
  t.ok(plain.ms >= 50 && plain.ms < 60, `${plain.ms} ms there and back`);
  for (const name of lab.links) lab.setLink(name, { loss: 0.3, oneWayMs: 5 });
  // Four links there and back: 1 − 0.7⁴ = 0.76 of the pings; 0.55 to 0.93 is five deviations.
  const lossy = await ping(150);
  t.ok(lossy.lost > 0.55 && lossy.lost < 0.93, `${lossy.lost} lost`);
  t.ok(lossy.ms >= 20 && lossy.ms < 30, `${lossy.ms} ms there and back`);
});

t.test('a phone goes from its Wi-Fi to its carrier and back', { skip }, async (t) => {
  const lab = await Lab.open({
    boxes: { wifi: { kind: 'port-restricted' }, lte: { kind: 'symmetric' } },
    hosts: { phone: { behind: ['wifi', 'lte'] }, server: {} },
  });
  t.teardown(() => lab.close());
  const server = await (await Prober.start(lab, 'server')).bind();
  const phone = await (await Prober.start(lab, 'phone')).bind({ host: '0.0.0.0' });
  const seenBy = async (): Promise<string | undefined> => (await phone.ask(server.local))?.host;
  t.equal(await seenBy(), lab.externalAddress('wifi'));
  lab.move('phone', { from: 0, to: 1 });
  t.equal(await seenBy(), lab.externalAddress('lte'));
  lab.move('phone', { from: 1, to: 0 });
  t.equal(await seenBy(), lab.externalAddress('wifi'));
  lab.setUp('phone', false);
  t.equal(await phone.ask(server.local, 300), undefined);
  lab.setUp('phone', true);
  t.equal(await seenBy(), lab.externalAddress('wifi'));
});

t.test('nothing is left of a closed lab, nor of a killed one', { skip }, async (t) => {
  const plan = {
    boxes: { box: { kind: 'symmetric' } },
    hosts: { a: { behind: ['box'] } },
  } as const;
  const ours = (): number =>
    namespaces().filter((name) => name.includes(`-${process.pid}-`)).length;
  const lab = await Lab.open(plan);
  t.equal(ours(), 3, 'the Internet, the box, the host');
  const child = lab.start('a', 'sleep', ['60']);
  const gone = once(child, 'exit');
  await lab.close();
  await gone;
  t.equal(ours(), 0);
  await lab.close();
  const program =
    `import { Lab } from ${JSON.stringify(LAB)}; await Lab.open(${JSON.stringify(plan)});` +
    "console.log('up'); setInterval(() => {}, 1e6);";
  const words = ['-u', 'NODE_OPTIONS', process.execPath, '--input-type=module', '-e', program];
  const other = spawn('env', words, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(other.stdout, 'data');
  const isOf = (name: string): boolean => name.startsWith(`nklab-${other.pid}-`);
  t.equal(namespaces().filter(isOf).length, 3);
  other.kill('SIGKILL');
  await once(other, 'close');
  t.equal(namespaces().filter(isOf).length, 3, 'killed, it clears nothing away');
  await (await Lab.open(plan)).close();
  t.equal(namespaces().filter(isOf).length, 0, 'the next one does');
});
