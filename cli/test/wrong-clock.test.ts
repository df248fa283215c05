// A Pi has no clock of its own: after a start it may say 1970, or, with a bad battery, a year to
// come. Programs of a machine like that enrol, join, and mean by 18:00 the 18:00 of the server's
// day.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { until } from '../../protocol/test/until.ts';
import { type Town, openTown } from '../../sim/fleet/town.ts';
import { json } from './program.ts';

const MAIN = join(import.meta.dirname, '..', 'main.js');
const MINUTES = 10;
const MS_PER_MINUTE = 60_000;
const YEAR_MS = 365 * 86_400_000;

/** Loaded before a program: its clock on the wall is off by $SHIFT_MS. */
const SHIFTED = `
const Real = Date;
const shiftMs = Number(process.env.SHIFT_MS);
globalThis.Date = class extends Real {
  constructor(...given) {
    if (given.length === 0) super(Real.now() + shiftMs);
    else super(...given);
  }
  static now() { return Real.now() + shiftMs; }
};
`;

/** Programs of one machine. */
class Machine {
  readonly home: string;
  readonly #hook: string;
  readonly #shiftMs: number;

  constructor(folder: string, name: string, shiftMs: number) {
    this.home = join(folder, name);
    this.#hook = join(folder, 'shifted.mjs');
    this.#shiftMs = shiftMs;
  }

  /** Starts a program; ended with the test. */
  start(
    test: Test,
    ...args: readonly string[]
  ): { out: string; err: string; exit: Promise<unknown> } {
    const node = ['-u', 'NODE_OPTIONS', process.execPath, '--import', this.#hook, MAIN];
    const child = spawn('env', [...node, ...args, '--home', this.home], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, SHIFT_MS: String(this.#shiftMs) },
    });
    const closed = once(child, 'close');
    test.teardown(async () => {
      child.kill('SIGTERM');
      await closed;
    });
    const said = { out: '', err: '', exit: closed.then(([code]: unknown[]) => code) };
    child.stdout.on('data', (chunk: Buffer) => (said.out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (said.err += chunk.toString()));
    return said;
  }

  async run(test: Test, ...args: readonly string[]): Promise<string> {
    const said = this.start(test, ...args);
    test.equal(await said.exit, 0, `${args[0]}: ${said.err}`);
    return said.out;
  }
}

/** A time of day here, so many minutes from now by the right clock. */
function timeOfDay(minutes: number): string {
  const then = new Date(Date.now() + minutes * MS_PER_MINUTE);
  const two = (part: number): string => String(part).padStart(2, '0');
  return `${two(then.getHours())}:${two(then.getMinutes())}`;
}

/** Whether ten minutes from now is still today: what `--until` needs. */
const isToday =
  new Date(Date.now() + (MINUTES + 1) * MS_PER_MINUTE).getDate() === new Date().getDate();

async function joined(test: Test, town: Town, shiftMs: number): Promise<Machine> {
  await writeFile(join(town.folder, 'shifted.mjs'), SHIFTED);
  const machine = new Machine(town.folder, 'TERM3', shiftMs);
  const { ticket } = await town.manager.operations.ticket({
    name: 'TERM3',
    uses: 1,
    forSeconds: 60,
  });
  await machine.run(test, 'enroll', ticket);
  machine.start(test, 'agent');
  await until(() => town.broker.stats().registered === 1, 'it registers');
  return machine;
}

for (const [year, shiftMs] of [
  ['1970', 60_000 - Date.now()],
  ['2030', 4 * YEAR_MS],
] as const) {
  t.test(`S1001, S4001: a machine whose clock says ${year}`, async (t) => {
    const town = await openTown();
    t.teardown(() => town.close());
    const machine = await joined(t, town, shiftMs);
    const status = json(await machine.run(t, 'status', '--json'));
    const offBy = Math.abs(Number(status?.clockOffsetMs) + shiftMs);
    t.ok(offBy < 10 * MS_PER_SECOND, `it knows by how much: ${offBy} ms`);
    t.match(status, { registered: true, troubles: {} });
    t.ok(Number(status?.membershipExpiresAt) * MS_PER_SECOND > Date.now(), 'it may stay');
    if (!isToday) return t.comment('it is nearly midnight');

    const service = ['--service', 'ping'];
    await machine.run(t, 'allow', 'TERM1', ...service, '--until', timeOfDay(MINUTES));
    const list = await readFile(join(machine.home, 'allow-list.toml'), 'utf8');
    const caller = await town.start(await town.enrol('TERM1', ''));
    const session = await caller.call({ to: 'TERM3', service: 'ping' }).catch(() => undefined);
    t.ok(session !== undefined, `18:00 is 18:00 of the server's day: ${list}`);
    const seconds = session?.info.seconds ?? 0;
    t.ok(seconds > 60 * (MINUTES - 2) && seconds <= 60 * MINUTES + 10, `${seconds} s`);
    await session?.close();
    const [allowed] = JSON.parse(await machine.run(t, 'allowed', '--json')) as { until: string }[];
    t.ok(
      Math.abs(Date.parse(allowed.until) - Date.now()) < 2 * MINUTES * MS_PER_MINUTE,
      allowed.until,
    );
    return undefined;
  });
}
