// The owner's word by hand: it is for who was meant, and what a caller chose to call its service is
// never part of a line that somebody copies to a shell.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { NakodoError } from '../../protocol/errors.ts';
import type { DeviceId, Name } from '../../protocol/ids.ts';
import { CorrectedClock } from '../../protocol/io/clock.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { micros, ms } from '../../protocol/time.ts';
import { Approvals } from '../shell/approvals.ts';
import { Owner } from '../shell/owner.ts';

const TERM1 = 'TERM1' as Name;

/** An owner whom somebody asks, and what was answered. */
async function asked(test: Test): Promise<{
  owner: Owner;
  answers: [ask: number, approved: boolean][];
  ask: (service: string, id?: string) => void;
}> {
  const folder = await mkdtemp(join(tmpdir(), 'nk-owner-'));
  const clock = new CorrectedClock();
  const log = silentLog;
  const approvals = new Approvals(join(folder, 'approvals.json'), clock, log);
  const answers: [ask: number, approved: boolean][] = [];
  const answer = (ask: number, approved: boolean): void => void answers.push([ask, approved]);
  const owner = new Owner({ approvals, clock, log, answer });
  test.teardown(async () => {
    await owner.stop();
    await rm(folder, { recursive: true, force: true });
  });
  let last = 0;
  const ask = (service: string, id = 'a'.repeat(32)): void =>
    owner.ask({
      ask: ++last,
      caller: { name: TERM1, id: id as DeviceId },
      isKnown: false,
      service,
      want: {},
      entry: { action: 'allow', pattern: '*', ask: true },
      isExtension: false,
      until: micros(clock.now() + ms(20_000)),
    });
  return { owner, answers, ask };
}

t.test('of several services one is named, and no hint holds what a caller wrote', async (t) => {
  const { owner, answers, ask } = await asked(t);
  ask('$(reboot)');
  ask('file');
  try {
    owner.decide({ name: TERM1, approved: true });
    t.fail('it is not clear which');
  } catch (error) {
    const { code, next } = error as NakodoError;
    t.equal(code, 'several-services');
    t.notMatch(next, /reboot/);
  }
  owner.decide({ name: TERM1, service: 'file', approved: true });
  t.strictSame(answers, [[2, true]]);
});

t.test('a yes by name is for one terminal; a no is for all of them', async (t) => {
  const { owner, answers, ask } = await asked(t);
  ask('file');
  ask('file', 'b'.repeat(32));
  t.throws(() => owner.decide({ name: TERM1, approved: true }), { code: 'several-callers' });
  t.strictSame(answers, []);
  owner.decide({ name: TERM1, ask: 2, approved: true });
  owner.decide({ name: TERM1, approved: false });
  t.strictSame(answers, [
    [2, true],
    [1, false],
  ]);
});
