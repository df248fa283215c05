// The examples of docs/sessions.md as a reader runs them: processes of their own, against a real
// server, in homes of their own. That the page shows them as they are: sessions-page.test.ts.

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { until } from '../../protocol/test/until.ts';
import { type Town, allowing, openTown } from '../../sim/fleet/town.ts';

const EXAMPLES = join(import.meta.dirname, '..', 'examples');
/** From start to registration: on a busy machine Node alone takes 20 s to load a program. */
const PATIENCE_MS = 30_000;

/** A program under way; `text`: what it has said so far on both its outputs. */
interface Program {
  readonly child: ChildProcess;
  text(): string;
  /** Its exit code, and all that it said. */
  readonly ended: Promise<number | null>;
}

function start(test: Test, name: string, args: readonly string[]): Program {
  // tap puts its own loaders into NODE_OPTIONS; a reader has none.
  const node = ['-u', 'NODE_OPTIONS', process.execPath, join(EXAMPLES, `${name}.js`), ...args];
  const child = spawn('env', node, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const ended = once(child, 'close').then(([exit]) => exit as number | null);
  test.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended;
  });
  return { child, text: () => said, ended };
}

/** Runs to the end; fails with what was said if that was no success. */
async function run(test: Test, name: string, args: readonly string[]): Promise<string> {
  const program = start(test, name, args);
  test.equal(await program.ended, 0, `${name} ${args[0]}: ${program.text()}`);
  return program.text();
}

/** Starts a service and waits until it says that it is there. */
async function serve(
  test: Test,
  name: string,
  args: readonly string[],
  ready: string,
): Promise<Program> {
  const program = start(test, name, args);
  const isThere = (): boolean => program.text().includes(ready);
  await until(isThere, `${name}: ${ready}`, PATIENCE_MS);
  return program;
}

/** SIGINT, as from a keyboard. */
async function interrupt(test: Test, program: Program): Promise<string> {
  program.child.kill('SIGINT');
  test.equal(await program.ended, 0, `it ends by itself: ${program.text()}`);
  return program.text();
}

async function scene(test: Test): Promise<{ town: Town; term1: string; term3: string }> {
  const town = await openTown();
  test.teardown(() => town.close());
  const term1 = await town.enrol('TERM1', '');
  const term3 = await town.enrol('TERM3', allowing('TERM1'));
  return { town, term1, term3 };
}

t.test('the examples run', async (t) => {
  const { town, term1, term3 } = await scene(t);

  await t.test('echo: words come back, an error says what to do', async (t) => {
    const service = await serve(t, 'echo', ['serve', term3], 'TERM3 echoes');
    t.equal(await run(t, 'echo', ['call', term1, 'TERM3', 'good evening']), 'good evening\n');
    const failed = start(t, 'echo', ['call', term1, 'TERM 3', 'good evening']);
    t.equal(await failed.ended, 2);
    t.match(failed.text(), /^'TERM 3' is not a terminal's name: a name has 1 to 64 letters/);
    await interrupt(t, service);
  });

  await t.test('copy-file: a file through two pipelines', async (t) => {
    const content = randomBytes(3_000_000);
    const [from, to] = [join(town.folder, 'photo'), join(town.folder, 'copy')];
    await writeFile(from, content);
    const taker = await serve(t, 'copy-file', ['take', term3, to], 'TERM3 takes a file');
    const said = await run(t, 'copy-file', ['give', term1, 'TERM3', from]);
    t.match(said, /^3000000 bytes taken\ndone: 30000\d\d bytes sent in \d+ ms\n$/);
    t.equal(await taker.ended, 0);
    const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
    t.equal(hash(await readFile(to)), hash(content));
  });

  await t.test('readings: datagrams are shown and counted', async (t) => {
    const watcher = await serve(t, 'readings', ['watch', term3], 'TERM3 watches');
    const said = await run(t, 'readings', ['send', term1, 'TERM3', '20']);
    t.match(said, /^sent 20, skipped 0, lost \d+ bytes\n$/);
    await until(() => watcher.text().includes('readings came'), 'the end of the loop');
    t.match(watcher.text(), /TERM1: 20\.0 degrees\n/);
    t.match(await interrupt(t, watcher), /(19|20) of 20 readings came\n/);
  });

  await t.test('questions: many at once, each answered on its stream', async (t) => {
    const service = await serve(t, 'questions', ['answer', term3], 'TERM3 answers');
    const said = await run(t, 'questions', ['ask', term1, 'TERM3', 'uptime', 'memory', 'weather']);
    t.match(said, /^uptime: \d+ min\nmemory: \d+ MB free\nweather: nobody knows\n$/);
    await interrupt(t, service);
  });

  await t.test('visitors: sessions and their events', async (t) => {
    const host = await serve(t, 'visitors', ['receive', term3], 'TERM3 receives');
    const said = await run(t, 'visitors', ['visit', term1, 'TERM3', '3']);
    t.equal(said, 'delivered 1\ndelivered 2\ndelivered 3\n');
    await until(() => host.text().includes('300000 bytes'), 'all that was delivered is read');
    const heard = await interrupt(t, host);
    t.match(heard, /TERM1 comes for 60 s and any number of bytes\n/);
    for (const bytes of [100_000, 200_000, 300_000]) t.match(heard, `brought ${bytes} bytes\n`);
    t.match(heard, /TERM1 left: done\n/);
    t.match(heard, /no more visitors\n$/);
  });
});
