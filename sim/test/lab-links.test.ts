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
  const [a, b] = await Promise.all(
    ['a', 'b'].map(async (name) => (await Prober.start(lab, name)).bind()),
  );
  /** The least of a few round trips, in milliseconds. */
  const roundTrip = async (): Promise<number> => {
    let least = Infinity;
    for (let tries = 0; tries < 8; tries++) {
      const begun = performance.now();
      t.strictSame(await a.ask(b.local), a.local);
      least = Math.min(least, performance.now() - begun);
    }
    return least;
  };
  /** Share of words that do not arrive. */
  const lost = async (): Promise<number> => {
    const words = 300;
    for (let said = 0; said < words; said++) await a.say(b.local);
    let heard = 0;
    while ((await b.hear(500)) !== undefined) heard += 1;
    return 1 - heard / words;
  };
  const plainMs = await roundTrip();
  t.ok(plainMs >= 50, `${plainMs} ms there and back`);
  t.equal(await lost(), 0);
  for (const name of lab.links) lab.setLink(name, { loss: 0, oneWayMs: 5 });
  const shortMs = await roundTrip();
  t.ok(shortMs >= 20 && shortMs < 50, `${shortMs} ms there and back`);
  for (const name of lab.links) lab.setLink(name, { loss: 0.3 });
  // Two links: 1 − 0.7² = 0.51; 0.36 to 0.66 is five deviations.
  const share = await lost();
  t.ok(share > 0.36 && share < 0.66, `${share} lost`);
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
