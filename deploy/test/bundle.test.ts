// The bundle that terminals are given: what is in it and what is not, whose terms come with it,
// that it is the same each time, and that it does a terminal's work against a real server, also
// with a code cache that is torn or another program's.

import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { folder, run, serve, start } from '../../cli/test/program.ts';
import { until } from '../../protocol/test/until.ts';
import { buildBundle } from '../bundle/bundle.ts';

const root = dirname(dirname(dirname(import.meta.dirname)));
const base = folder(t);
const bundle = await buildBundle(root, join(base, 'a'));

t.test('no server, no store, no certificate maker is in the bundle', async (t) => {
  const parts = Object.keys(bundle.parts);
  const foreign =
    /^(broker|session-manager|sim|bench|deploy)\/|node_modules\/(lmdb|aedes|@peculiar)/;
  t.strictSame(
    parts.filter((part) => foreign.test(part)),
    [],
  );
  t.ok(foreign.test('broker/shell/broker-shell.ts'), 'it would be seen');
  for (const part of ['device/agent.ts', 'mqtt/build/lib/client.js', 'cbor-x/encode.js'])
    t.ok(
      parts.some((path) => path.endsWith(part)),
      part,
    );
  t.notOk(
    parts.some((part) => /node_modules\/(ws|socks|readable-stream|worker-timers)\//.test(part)),
    'nor what of MQTT.js nobody uses',
  );
});

t.test('the terms of each package come with it', async (t) => {
  const texts = readFileSync(bundle.licenses, 'utf8');
  const packages = Object.keys(bundle.parts).flatMap((part) => {
    const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(part)?.[1];
    return name === undefined ? [] : [name];
  });
  t.ok(packages.includes('mqtt') && packages.includes('@noble/hashes'));
  for (const name of new Set(packages)) t.ok(texts.includes(`${name} `), name);
  t.match(texts, /Permission is hereby granted, free of charge/);
});

t.test('the same sources give the same bytes', async (t) => {
  const again = await buildBundle(root, join(base, 'b'));
  for (const part of ['program', 'start', 'licenses'] as const)
    t.ok(readFileSync(again[part]).equals(readFileSync(bundle[part])), part);
  t.notOk(readFileSync(again.program, 'utf8').includes(root), 'nor does it say where they lie');
});

t.test('it says the version of the package, and has no command of a server', async (t) => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    readonly version: string;
  };
  t.equal((await run(['--version'], {}, bundle.program)).stdout.trim(), version);
  t.equal((await run(['serve'], {}, bundle.program)).exit, 2);
  t.match((await run(['send', '--help'], {}, bundle.program)).stdout, /Exit codes:/);
});

t.test(
  'claim 19: two bundled terminals enrol over TLS and one sends the other a file',
  async (t) => {
    const at = (...names: readonly string[]): string => join(base, 'talk', ...names);
    await serve(t, at('server'));
    for (const name of ['TERM1', 'TERM2']) {
      const { said } = await run(['ticket', '--name', name, '--home', at('server'), '--json']);
      const enrolled = await run(
        ['enroll', String(said?.ticket), '--home', at(name)],
        {},
        bundle.program,
      );
      t.equal(enrolled.exit, 0, enrolled.stderr);
    }
    const allowed = await run(['allow', 'TERM1', '--home', at('TERM2')], {}, bundle.program);
    t.equal(allowed.exit, 0, allowed.stderr);
    await start(t, ['agent', '--home', at('TERM1')], {}, bundle.program);

    const cache = at('cache');
    const code = join(cache, 'nakodo.code');
    mkdirSync(cache);
    let sent = 0;
    /** Starts TERM2 as its service would, sends it a file, and ends it. */
    const starts = async (what: string): Promise<void> => {
      const args = ['agent', '--home', at('TERM2')];
      const agent = await start(t, args, { CACHE_DIRECTORY: cache }, bundle.start);
      const file = at(`${(sent += 1)}.bin`);
      writeFileSync(file, randomBytes(300_000));
      const { exit, stderr } = await run(
        ['send', 'TERM2', file, '--home', at('TERM1')],
        {},
        bundle.program,
      );
      t.equal(exit, 0, `${what}: ${stderr}`);
      t.ok(readFileSync(at('TERM2', 'inbox', `${sent}.bin`)).equals(readFileSync(file)), what);
      if (!existsSync(code)) await until(() => existsSync(code), 'the code is kept');
      t.equal(await agent.end(), 0);
    };
    await starts('without a code cache');
    const kept = readFileSync(code);
    await starts('with one');
    t.ok(readFileSync(code).equals(kept), 'which is written once');
    const torn = Buffer.from(kept);
    for (let place = 1_000; place < torn.length; place += 50_000) torn[place] ^= 0xff;
    writeFileSync(code, torn);
    await starts('with a torn one');
    // V8 would take the code of another program of the same length, and run that.
    const version = async (): Promise<string> =>
      (await run(['--version'], { CACHE_DIRECTORY: cache }, bundle.start)).stdout.trim();
    const said = await version();
    writeFileSync(code, kept);
    const source = readFileSync(bundle.program, 'latin1');
    writeFileSync(bundle.program, source.replaceAll(said, said.replace(/\d/g, '7')));
    t.equal(await version(), said.replace(/\d/g, '7'), 'a new program runs, not the old code');
    writeFileSync(bundle.program, source);
    t.strictSame(readdirSync(cache), ['nakodo.code'], 'nothing half-written is left');
  },
);
