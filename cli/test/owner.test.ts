// `allow --ask`, `approve`, `trust`: the owner's word through real processes, and on the file of a
// terminal that does not run.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { folder, run, serve, terminal } from './program.ts';

const ID = 'abcdefghijklmnopqrstuvwxyz234567';

t.test('S4003: a call waits for nakodo approve, and a yes is remembered', async (t) => {
  const base = folder(t);
  const at = (name: string): string => join(base, name);
  await serve(t, at('s'));
  await Promise.all([
    terminal(t, { server: at('s'), home: at('1'), name: 'TERM1' }),
    terminal(t, { server: at('s'), home: at('3'), name: 'TERM3' }),
  ]);
  const own = (...args: readonly string[]): ReturnType<typeof run> =>
    run([...args, '--home', at('3'), '--json']);
  const stored = await own('allow', 'TERM1', '--ask', '--service', 'file');
  t.strictSame(stored.said, { action: 'allow', name: 'TERM1', services: ['file'], ask: true });

  const nobody = await own('approve', 'TERM1');
  t.equal(nobody.exit, 1);
  t.match(nobody.said, { error: { code: 'nobody-waits', next: /nakodo approve/ } });
  t.strictSame((await own('approve', '--wait', '1s')).said, []);

  const file = at('photo.jpg');
  writeFileSync(file, 'a photo');
  const send = (wait: string): ReturnType<typeof run> =>
    run(['send', 'TERM3', file, '--wait', wait, '--home', at('1'), '--json']);
  // It waits before it is asked, so that it is not the start of a process that is timed.
  const denying = run(['approve', 'TERM1', '--deny', '--wait', '20s', '--home', at('3')]);
  const refused = send('3s');
  const no = await denying;
  t.match(no, { exit: 0, stdout: /TERM1 was refused/ });
  t.equal((await refused).exit, 3, 'a no is a refusal like any other to the caller');

  const sending = send('30s');
  const seen = await own('approve');
  t.match(seen.said, [{ name: 'TERM1', id: /^[a-z2-7]{32}$/, service: 'file' }]);
  const status = await run(['status', '--home', at('3')]);
  t.match(status.stdout, /TERM1 wants file and waits: nakodo approve TERM1/);
  const yes = await own('approve', 'TERM1', '--remember', '1h');
  t.equal(yes.exit, 0, yes.stdout);
  t.match(yes.said, { name: 'TERM1', services: ['file'], approved: true, remember: 3_600 });
  t.equal((await sending).exit, 0);
  t.equal((await send('5s')).exit, 0, 'remembered: nobody had to be there');

  const none = await run(['trust', 'TERM3', '--home', at('1')]);
  t.equal(none.exit, 1);
  t.match(none.stderr, /TERM3 was not refused.*\nnext: .*nakodo trust TERM3#ID/);
  const told = await run(['trust', `TERM3#${ID}`, '--home', at('1'), '--json']);
  t.strictSame(told.said, { name: 'TERM3', id: ID });
  const changed = await send('5s');
  t.equal(changed.exit, 1, 'not the exit code of a refusal: it is loud');
  t.match(changed.said, { error: { code: 'peer-changed', next: /nakodo trust TERM3/ } });
  const after = await run(['status', '--home', at('1')]);
  t.match(after.stdout, /! TERM3 was refused: .*nakodo trust TERM3/);
  const again = await run(['trust', 'TERM3', '--home', at('1'), '--json']);
  t.match(again.said, { name: 'TERM3', id: /^[a-z2-7]{32}$/ });
  t.equal((await send('5s')).exit, 0);
});

t.test('trust without an agent writes the pin itself, and says what it cannot know', async (t) => {
  const home = folder(t);
  const trust = (who: string): ReturnType<typeof run> =>
    run(['trust', who, '--home', home, '--json']);
  const pins = (): unknown => JSON.parse(readFileSync(join(home, 'pins.json'), 'utf8'));
  t.strictSame((await trust(`TERM3#${ID}`)).said, { name: 'TERM3', id: ID });
  await Promise.all(['TERM4', 'TERM5'].map((name) => trust(`${name}#${ID}`)));
  t.strictSame((pins() as { pins: { name: string }[] }).pins.map(({ name }) => name).sort(), [
    'TERM3',
    'TERM4',
    'TERM5',
  ]);
  await run(['allow', `TERM6#${ID}`, '--home', home]);
  const OTHER = 'z'.repeat(32);
  const listed = await run(['trust', `TERM6#${OTHER}`, '--home', home]);
  t.match(listed.stderr, `The allow-list states ${ID} for TERM6`);
  t.match(
    listed.stderr,
    `nakodo allow TERM6#${OTHER} --home`,
    'trust changes no list, and says so',
  );
  t.equal((await run(['trust', `TERM6#${ID}`, '--home', home])).stderr, '');
  const blind = await trust('TERM3');
  t.equal(blind.exit, 1);
  t.match(blind.said, { error: { code: 'nothing-to-trust', next: /TERM3#ID/ } });
  t.equal((await trust('TERM3#short')).exit, 2);
  t.equal((await trust('TERM/3')).exit, 2);
  writeFileSync(join(home, 'pins.json'), '{}');
  const damaged = await trust(`TERM3#${ID}`);
  t.equal(damaged.exit, 1);
  t.match(damaged.said, { error: { code: 'file-damaged', message: /pins\.json/ } });
});

t.test('what approve and allow --ask do not take is wrong use', async (t) => {
  const home = folder(t);
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [['approve', '--remember', '8h'], /whose call.*\nnext: .*approve NAME/],
    [['approve', '--deny'], /whose call.*\nnext: /],
    [['approve', 'TERM1', '--deny', '--remember', '8h'], /not remembered.*\nnext: .*nakodo deny/],
    [['approve', 'TERM1', '--remember', '31d'], /'31d'.*\nnext: /],
    [['approve', 'TERM/1'], /TERM\/1.*\nnext: /],
    [['allow', 'TERM1', '--remember', '8h'], /remember.*\nnext: /],
    [['allow', 'TERM1', '--ask-command', ' '], /command.*\nnext: /],
    [['allow', 'TERM1', '--ask-command', 'true || false'], /no shell.*script\nnext: /],
    [['allow', 'TERM1', '--ask-command', '"/my ask.sh"'], /no shell.*script\nnext: /],
  ];
  await Promise.all(
    wrong.map(async ([args, expected]) => {
      const { exit, stderr } = await run([...args, '--home', home]);
      t.equal(exit, 2, args.join(' '));
      t.match(stderr, expected, args.join(' '));
    }),
  );
  const absent = await run(['approve', 'TERM1', '--home', home]);
  t.equal(absent.exit, 5, 'no agent runs');
  await run(['allow', 'TERM1', '--ask-command', '/bin/true', '--remember', '8h', '--home', home]);
  const { stdout } = await run(['allowed', '--home', home]);
  t.match(stdout, /ASK\n.*TERM1 .*\/bin\/true, for 8 ?h/);
});
