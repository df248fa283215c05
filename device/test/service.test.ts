// The agent under a service manager: what it tells systemd, when it counts as sound, how fast its
// talks are, and whom it lets at its socket.

import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { SessionId } from '../../protocol/ids.ts';
import { type Log, createLog, silentLog } from '../../protocol/io/log.ts';
import { ms, micros } from '../../protocol/time.ts';
import {
  type ServiceManager,
  type ServiceMessage,
  serviceManager,
} from '../shell/service/notify.ts';
import { fitted } from '../shell/service/report.ts';
import { type AgentHealth, selfCheck } from '../shell/service/self-check.ts';
import { socketAccess } from '../shell/service/socket-access.ts';
import { TalkRates } from '../shell/service/talk-rates.ts';
import { Watchdog } from '../shell/service/watchdog.ts';
import type { TerminalStatus } from '../terminal-types.ts';
import { noNotify, notifyReceiver } from './notify-receiver.ts';

const cannot = await noNotify();

/** A log whose lines are kept. */
function kept(): { readonly log: Log; readonly lines: string[] } {
  const lines: string[] = [];
  return { log: createLog({ write: (line) => void lines.push(line) }), lines };
}

t.test('systemd hears each message, one line of status, in order', { skip: cannot }, async (t) => {
  const receiver = await notifyReceiver(t);
  const env = { PATH: process.env.PATH, NOTIFY_SOCKET: receiver.path, WATCHDOG_USEC: '3000000' };
  const manager = serviceManager(env, silentLog);
  t.strictSame(Object.keys(env), ['PATH'], 'no child of ours speaks for us');
  t.equal(manager?.watchdogMs, 3_000);
  await Promise.all([
    manager?.tell({ ready: true, status: 'TERM1\nREADY=0 is up' }),
    manager?.tell({ alive: true, status: 'x'.repeat(1_000) }),
    manager?.tell({ stopping: true }),
  ]);
  const [ready, alive, stopping] = receiver.messages;
  t.equal(ready, 'READY=1|STATUS=TERM1 READY=0 is up');
  t.match(alive, /^WATCHDOG=1\|STATUS=x{200}$/);
  t.equal(stopping, 'STOPPING=1');
});

t.test('a service manager that cannot be told is said once, and is no error', async (t) => {
  const { log, lines } = kept();
  const nowhere = mkdtempSync(join(tmpdir(), 'nk-'));
  t.teardown(() => rmSync(nowhere, { recursive: true }));
  const manager = serviceManager({ NOTIFY_SOCKET: join(nowhere, 'none'), PATH: nowhere }, log);
  await manager?.tell({ ready: true });
  await manager?.tell({ alive: true });
  t.equal(lines.length, 1);
  t.match(lines[0], /warn {2}service-manager-not-told why=.*systemd-notify/);
});

t.test('who is not started by systemd tells nobody, and no other process has our watchdog', (t) => {
  t.equal(serviceManager({}, silentLog), undefined);
  const watchdogMs = (env: NodeJS.ProcessEnv): number | undefined =>
    serviceManager({ NOTIFY_SOCKET: '/run/none', ...env }, silentLog)?.watchdogMs;
  t.equal(watchdogMs({ WATCHDOG_USEC: '90000000', WATCHDOG_PID: String(process.pid) }), 90_000);
  t.equal(watchdogMs({ WATCHDOG_USEC: '90000000', WATCHDOG_PID: '1' }), undefined);
  for (const usec of ['', '0', '999', '-1', '1e9', 'soon']) {
    t.equal(watchdogMs({ WATCHDOG_USEC: usec }), undefined, usec);
  }
  t.equal(watchdogMs({ WATCHDOG_USEC: '999999999999999' }), 2_147_483_647, 'what a timer takes');
  t.end();
});

const UP = { state: 'up', forMs: 1e6, heardMsAgo: 59_000, keepaliveSeconds: 60 } as const;
const SOUND: AgentHealth = { loopLateMs: 3, coreLateMs: 0, link: UP };

t.test('a self-check fails for our own faults, never for a broker that is away', (t) => {
  const sound: readonly Partial<AgentHealth>[] = [
    {},
    { loopLateMs: 9_000 },
    { link: { ...UP, heardMsAgo: 149_000 } },
    { link: { ...UP, keepaliveSeconds: 1_200, heardMsAgo: 2_900_000 } },
    { link: { state: 'waiting', inMs: 30_000, lateMs: 0 } },
    { link: { state: 'opening', forMs: 20_000 } },
    { link: { state: 'down' } },
  ];
  for (const facts of sound) {
    t.equal(selfCheck({ ...SOUND, ...facts }), undefined, JSON.stringify(facts));
  }
  const broken: readonly (readonly [Partial<AgentHealth>, RegExp])[] = [
    [{ loopLateMs: 11_000 }, /event loop is 11000 ms late/],
    [{ coreLateMs: 60_000 }, /core was due 60000 ms ago/],
    [{ link: { ...UP, heardMsAgo: 151_000 } }, /nothing was heard for 151000 ms/],
    [{ link: { state: 'waiting', inMs: 0, lateMs: 10_001 } }, /should have tried/],
    [{ link: { state: 'opening', forMs: 61_000 } }, /connecting for 61000 ms/],
  ];
  for (const [facts, wanted] of broken) {
    t.match(selfCheck({ ...SOUND, ...facts }), wanted, JSON.stringify(facts));
  }
  t.end();
});

/** A service manager that only listens. */
class Listening implements ServiceManager {
  readonly watchdogMs: number | undefined;
  readonly told: ServiceMessage[] = [];
  #heard: () => void = () => {};

  constructor(watchdogMs: number | undefined) {
    this.watchdogMs = watchdogMs;
  }

  tell(message: ServiceMessage): Promise<void> {
    this.told.push(message);
    this.#heard();
    return Promise.resolve();
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
  }
}

t.test(
  'alive is said at half of the time while the self-check passes, and withheld else',
  async (t) => {
    const manager = new Listening(40);
    const { log, lines } = kept();
    let link: AgentHealth['link'] = UP;
    let checks = 0;
    const check = new EventTarget();
    const health = (): { coreLateMs: number; link: AgentHealth['link'] } => {
      checks += 1;
      check.dispatchEvent(new Event('check'));
      return { coreLateMs: 0, link };
    };
    const watchdog = new Watchdog(manager, { health, status: () => 'TERM1' }, log);
    const alive = (): number => manager.told.filter((message) => message.alive === true).length;
    await watchdog.ready();
    t.strictSame(manager.told, [{ ready: true, status: 'TERM1' }], 'ready comes first, alone');
    await manager.until(() => alive() >= 2);
    link = { ...UP, heardMsAgo: 1e9 };
    const [before, checked] = [alive(), checks];
    while (checks < checked + 3) await once(check, 'check');
    t.equal(alive(), before, 'nothing was said at three checks that failed');
    t.equal(lines.filter((line) => line.includes('self-check-failed')).length, 1, 'said once');
    link = UP;
    await manager.until(() => alive() > before);
    t.match(lines.at(-1), /self-check-passed/);
    await watchdog.stopping();
    const said = manager.told.length;
    t.match(manager.told.at(-1), { stopping: true });
    watchdog.tellStatus();
    t.equal(manager.told.length, said + 1);
  },
);

t.test('without a watchdog nothing is checked', async (t) => {
  const manager = new Listening(undefined);
  const health = (): never => t.fail('asked') as never;
  await new Watchdog(manager, { health, status: () => 'TERM1' }, silentLog).ready();
  t.equal(manager.told.length, 1);
});

/** A talk of which only the counts matter. */
function talking(sentBytes: number, receivedBytes: number): TerminalStatus['talks'][number] {
  const talk = { counts: { sentBytes, receivedBytes } };
  return { session: 's1' as SessionId, talk } as unknown as TerminalStatus['talks'][number];
}

t.test('a rate is that of the last seconds, and decays in a silence', (t) => {
  const rates = new TalkRates();
  const at = (milliseconds: number) => micros(ms(milliseconds));
  t.strictSame(rates.of(at(0), talking(5, 5)), { sent: 0, received: 0 }, 'never looked at');
  for (let now = 0; now <= 10_000; now += 10) {
    rates.note(at(now), () => [talking(now * 100, now)]);
  }
  t.match(rates.of(at(10_000), talking(1_000_000, 10_000)), { sent: 100_000, received: 1_000 });
  const after = rates.of(at(20_000), talking(1_000_000, 10_000));
  t.strictSame(after, { sent: 0, received: 0 }, 'silent since');
  rates.note(at(60_000), () => [talking(1_000_000, 10_000)]);
  const burst = rates.of(at(60_500), talking(1_500_000, 10_000));
  t.equal(burst.sent, 1_000_000, 'a burst is not spread over the silence before it');
  rates.note(at(70_000), () => []);
  t.strictSame(rates.of(at(70_000), talking(2_000_000, 0)), { sent: 0, received: 0 }, 'forgotten');
  t.end();
});

t.test('the counts are looked at once a second at the most', (t) => {
  const rates = new TalkRates();
  let looks = 0;
  for (let now = 0; now < 3_000; now++) {
    rates.note(micros(ms(now)), () => {
      looks += 1;
      return [];
    });
  }
  t.equal(looks, 3);
  t.end();
});

t.test('a status of too many talks shows the newest, and counts the others', (t) => {
  const talks = Array.from({ length: 400 }, (_, at) => ({ session: at, words: 'ü'.repeat(400) }));
  const shown = fitted({ name: 'TERM1', talks }, 65_536);
  t.ok(Buffer.byteLength(JSON.stringify(shown)) <= 65_536);
  t.ok(shown.talks.length > 60, `${shown.talks.length} are shown`);
  t.equal(shown.talks.at(-1)?.session, 399, 'the newest among them');
  t.equal(shown.talks.length + shown.talksNotShown, 400);
  const few = { name: 'TERM1', talks: talks.slice(0, 3) };
  t.strictSame(fitted(few, 65_536), { ...few, talksNotShown: 0 });
  t.strictSame(fitted({ talks }, 10).talks, [], 'at the worst none');
  t.end();
});

/** A home of mode 0755 in a folder of its own. */
function home(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'nk-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  return folder;
}

t.test("without a group the socket is its user's, and the home stays as it is", async (t) => {
  const folder = home(t);
  t.strictSame(await socketAccess(folder, undefined), { mode: 0o600, group: undefined });
  t.equal(statSync(folder).mode & 0o777, 0o755);
});

t.test('with a group its members pass through the home, and nobody else', async (t) => {
  const folder = home(t);
  const own = process.getgid?.() ?? 0;
  t.strictSame(await socketAccess(folder, String(own)), { mode: 0o660, group: own });
  const { mode, gid } = statSync(folder);
  t.strictSame([mode & 0o777, gid], [0o750, own]);
  chmodSync(folder, 0o700);
  await socketAccess(folder, String(own));
  t.equal(statSync(folder).mode & 0o777, 0o710, 'they see no names either');
});

t.test('a group that is not there is said before anything is opened', async (t) => {
  const folder = home(t);
  await t.rejects(socketAccess(folder, 'no-such-group-here'), { code: 'no-such-group' });
  t.equal(statSync(folder).mode & 0o777, 0o755);
});
