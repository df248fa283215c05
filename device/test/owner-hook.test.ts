// The command of an entry that asks: its exit code is the owner's word; nothing that a caller
// chooses is ever a command, and nothing that it starts outlives the question.

import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { DeviceId, Name } from '../../protocol/ids.ts';
import { Clock } from '../../protocol/io/clock.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { until } from '../../protocol/test/until.ts';
import { micros, ms } from '../../protocol/time.ts';
import { OwnerHooks } from '../shell/owner-hook.ts';
import type { OwnerQuestion } from '../terminal-types.ts';

const clock = new Clock();
const CALLER = { name: 'TERM1' as Name, id: 'a'.repeat(32) as DeviceId };

function question(ask: number, waitMs = 20_000, isKnown = true): OwnerQuestion {
  return {
    ask,
    caller: CALLER,
    isKnown,
    service: 'file',
    want: { bytes: 5_000, seconds: undefined },
    entry: { action: 'allow', pattern: 'TERM1', ask: 'command' },
    isExtension: false,
    until: micros(clock.now() + ms(waitMs)),
  };
}

async function script(test: Test, body: string): Promise<{ folder: string; path: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'nk-hook-'));
  test.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'hook.sh');
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o700);
  return { folder, path };
}

function hooks(test: Test): OwnerHooks {
  const made = new OwnerHooks(clock, silentLog);
  test.teardown(() => made.stop());
  return made;
}

const answerOf = (made: OwnerHooks, asked: OwnerQuestion, command: string): Promise<boolean> =>
  new Promise((resolve) => made.run(asked, command, resolve));

/** Whether a process runs; one that is dead and waits for its parent does not. */
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
};

t.test('S4003: exit code 0 is a yes, everything else a no', async (t) => {
  const made = hooks(t);
  t.equal(await answerOf(made, question(1), 'true'), true);
  t.equal(await answerOf(made, question(2), 'false'), false);
  t.equal(await answerOf(made, question(3), '/no/such/program'), false);
  t.equal(await answerOf(made, question(4), '   '), false);
  t.equal(await answerOf(made, question(5, -1), 'true'), false, 'asked too late');
  t.equal(await answerOf(made, question(6), 'a\0b'), false, 'what the system refuses');
});

t.test('a command hears who asks in its environment, and no shell reads its words', async (t) => {
  const { folder, path } = await script(t, 'env > "$1"; echo "$#:$2:$3" >> "$1"');
  const out = join(folder, 'out');
  t.equal(await answerOf(hooks(t), question(1), `${path} ${out} $(id);rm   *`), true);
  const said = await readFile(out, 'utf8');
  for (const line of [
    'NAKODO_CALLER=TERM1',
    `NAKODO_CALLER_ID=${CALLER.id}`,
    'NAKODO_SERVICE=file',
    'NAKODO_BYTES=5000',
    'NAKODO_SECONDS=',
  ]) {
    t.ok(said.split('\n').includes(line), line);
  }
  t.match(said, /^3:\$\(id\);rm:\*$/m, 'words as they stand');
});

t.test('a command is killed at the deadline, with all that it started', async (t) => {
  const { folder, path } = await script(t, 'sleep 300 & echo $! > "$1"; wait');
  const out = join(folder, 'pid');
  const begun = clock.now();
  t.equal(await answerOf(hooks(t), question(1, 1_500), `${path} ${out}`), false);
  t.ok(clock.now() - begun < ms(10_000));
  const pid = Number(await readFile(out, 'utf8'));
  t.ok(pid > 0, 'it had started a child');
  await until(async () => !isAlive(pid));
  t.notOk(isAlive(pid));
});

t.test(
  'a question that nobody waits for ends its command, and others get their turn',
  async (t) => {
    const made = hooks(t);
    const answers: number[] = [];
    // Four run, the rest waits.
    for (let ask = 1; ask <= 6; ask++) {
      made.run(question(ask), ask <= 4 ? 'sleep 300' : 'true', () => answers.push(ask));
    }
    const late = answerOf(made, question(7), 'true');
    made.forget(5);
    t.strictSame(answers, []);
    made.forget(1);
    t.equal(await late, true);
    t.ok(answers.includes(6));
    t.notOk(answers.includes(5), 'it never ran');
    t.notOk(answers.includes(1), 'it was killed, which is no answer');
    made.stop();
  },
);

t.test('strangers whose questions nobody answers keep no friend waiting', async (t) => {
  const made = hooks(t);
  const isStranger = false;
  for (let ask = 1; ask <= 8; ask++) {
    made.run(question(ask, 20_000, isStranger), 'sleep 300', () => {});
  }
  t.equal(await answerOf(made, question(9), 'true'), true);
  const next = answerOf(made, question(10, 20_000, isStranger), 'true');
  for (let ask = 1; ask <= 7; ask++) made.forget(ask);
  t.equal(await next, true, 'and each other only until they go');
});
