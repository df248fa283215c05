// The second phase of a world: all faults are off, and everything has to come right by itself
// (docs/simulator.md). Nothing half open is left, whoever may talk can, and what they send arrives
// in time.

import type { TerminalEvent } from '../device/terminal-types.ts';
import type { EndReason } from '../protocol/ends.ts';
import type { SessionId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MANAGER_LIMITS } from '../session-manager/limits.ts';
import type { Rng } from '../protocol/random.ts';
import { after, micros, ms, seconds } from '../protocol/time.ts';
import { CALM } from './options.ts';
import type { Application, VirtualTerminal } from './parties/virtual-terminal.ts';
import { reachOf } from './reach.ts';
import { pick } from './strikes.ts';
import type { Workload } from './workload.ts';
import type { World } from './world.ts';

/** Seconds until a link that backed off for as long as it may is up and registered again. */
const BACK_SECONDS = 120;
/** The longest grant, the minute in which a manager waits for reports, and one for retries. */
const REST_SECONDS = 60 + 2 * LIMITS.unreportedSeconds;
const CONNECT_MS_MAX = 5_000;
/** Seconds after which somebody who cannot be reached has been given up, in words. */
const GIVEN_UP_SECONDS = 12;
const TRANSFER_SECONDS_MAX = 10;
const TRIES_MAX = 6;
const CONTENT_BYTES = 5_000;
const LOOK_EVERY_MS = 50;
/** What a seed lasts at least, in virtual seconds. */
const WORLD_SECONDS_MIN = 60;

/** Runs the second phase. @throws Violation when something does not come right. */
export function liveness(world: World, workload: Workload): void {
  workload.stop();
  world.calm({ ...CALM, 'udp.delay': 10 });
  // Looked at now and then: nothing comes to rest for a moment only.
  let lookAt = world.now;
  const isQuiet = (): boolean => {
    if (world.now < lookAt) return false;
    lookAt = after(world.now, ms(LOOK_EVERY_MS));
    return restless(world).length === 0;
  };
  if (!world.run(after(world.now, seconds(BACK_SECONDS + REST_SECONDS)), isQuiet)) {
    world.violate('liveness', `not at rest: ${restless(world).slice(0, 4).join(', ')}`);
  }
  const rng = world.rng('liveness');
  for (let attempt = 0; attempt < TRIES_MAX; attempt++) tryCall(world, rng);
  if (!world.run(after(world.now, seconds(REST_SECONDS)), isQuiet)) {
    world.violate('liveness', `not at rest at the end: ${restless(world).slice(0, 4).join(', ')}`);
  }
  // What was decided is on disk a moment later: then the log is judged.
  world.run(micros(Math.max(after(world.now, seconds(1)), seconds(WORLD_SECONDS_MIN))));
}

/** What is still under way anywhere, in words. */
function restless(world: World): readonly string[] {
  const rest: string[] = [];
  for (const terminal of world.terminals) {
    const { name, pollSeconds, isRevoked, isClone } = terminal;
    if (isClone || isRevoked || world.isRogue(terminal)) continue;
    const status = terminal.status();
    if (status === undefined) {
      rest.push(`${name} is off`);
      continue;
    }
    // A machine that slept finds out that its connection is dead when no ping is answered.
    if (terminal.connection?.isDead === true) rest.push(`${name} has a dead link`);
    const isLinked = pollSeconds === undefined || status.link === 'up';
    if ((isLinked && !status.registered) || !terminal.hasRegistered) {
      rest.push(`${name} is not registered`);
    }
    if (status.calls.length > 0) rest.push(`${name} calls`);
    if (status.talks.length > 0) rest.push(`${name} talks`);
    if (status.endNotices > 0) rest.push(`${name} has ends to report`);
    if (terminal.sockets.length > 0) rest.push(`${name} keeps a socket open`);
  }
  if (!world.manager.isLinked || world.manager.connection?.isDead === true) {
    rest.push('the manager has no link');
  }
  const { failedAt } = world.manager;
  // Until it has tried again it begins no session: nobody is told why (S2010).
  if (failedAt !== undefined && world.now <= after(failedAt, ms(MANAGER_LIMITS.diskRetryMs)))
    rest.push('the manager’s disk is given time');
  for (const { session } of world.manager.core?.sessions('open') ?? []) {
    rest.push(`session ${session} is open`);
  }
  return rest;
}

/** A terminal that answers with all that it hears. */
class Echo implements Application {
  connected = false;
  failed: string | undefined;
  ended: EndReason | undefined;
  heard = 0;
  readonly #caller: VirtualTerminal;
  readonly #into = new Uint8Array(CONTENT_BYTES);
  #call: number | undefined;
  #session: SessionId | undefined;

  constructor(caller: VirtualTerminal) {
    this.#caller = caller;
  }

  /** Of all that the two have to say, only this call counts. */
  begin(call: number | undefined): void {
    this.#call = call;
  }

  onEvent(terminal: VirtualTerminal, event: TerminalEvent): void {
    const isCaller = terminal === this.#caller;
    if (isCaller && event.kind === 'callFailed' && event.call === this.#call)
      this.failed = event.why;
    if (isCaller && event.kind === 'introduced' && event.call === this.#call)
      this.#session = event.session;
    if (isCaller && event.kind === 'ended' && event.session === this.#session)
      this.ended = event.reason;
    if (event.kind !== 'talk' || event.session !== this.#session) return;
    const { session, event: inner } = event;
    if (inner.kind === 'established' && isCaller) {
      this.connected = true;
      const stream = terminal.talk(session)?.openStream();
      if (stream === undefined) return;
      terminal.write(session, stream, new Uint8Array(CONTENT_BYTES));
      terminal.finish(session, stream);
    }
    if (inner.kind !== 'readable') return;
    for (;;) {
      const count = terminal.read(session, inner.stream, this.#into);
      if (count > 0) this.heard += count;
      if (count < 0 && !isCaller) terminal.end(session, 'done');
      if (count <= 0) return;
    }
  }
}

/** One call of somebody who may, to somebody who can be reached. */
function tryCall(world: World, rng: Rng): void {
  const there = world.terminals.filter(
    (terminal) => !terminal.isRevoked && !terminal.isClone && !world.isRogue(terminal),
  );
  const [caller, callee] = [pick(rng, there), pick(rng, there)];
  const service = 'pipe';
  if (caller === callee) return;
  if (!world.isPermitted(caller, callee.name, service)) return;
  const echo = new Echo(caller);
  caller.application = echo;
  callee.application = echo;
  const waits = callee.pollSeconds === undefined ? 0 : ms(callee.pollSeconds * 1_500);
  const sleeps = caller.pollSeconds === undefined ? 0 : seconds(caller.pollSeconds + 2);
  const wish = { callee: callee.name, service, want: {}, waitMs: 30_000, extend: false };
  echo.begin(caller.call(wish));
  const reach = reachOf(world, caller, callee);
  const isMet = (): boolean =>
    echo.connected || echo.failed !== undefined || echo.ended !== undefined;
  const lasts = reach === 'yes' ? ms(CONNECT_MS_MAX) : seconds(GIVEN_UP_SECONDS);
  const by = after(world.now, lasts + waits + sleeps);
  const label = `${caller.name} → ${callee.name}`;
  if (!world.run(by, isMet)) world.violate('liveness', `${label} is not connected in time`);
  if (!echo.connected && echo.ended !== undefined) {
    if (reach === 'yes') world.violate('liveness', `${label} finds no path: ${echo.ended}`);
    world.mark(`no path: ${reach === 'no' ? 'there is none' : 'bad luck'}`);
    if (echo.ended !== 'path-lost') world.violate('liveness', `${label} ended: ${echo.ended}`);
    return;
  }
  if (reach === 'no') world.violate('liveness', `${label} has a path that cannot be`);
  if (echo.failed !== undefined) world.violate('liveness', `${label} failed: ${echo.failed}`);
  const isDone = (): boolean => echo.ended !== undefined;
  if (!world.run(after(world.now, seconds(TRANSFER_SECONDS_MAX)), isDone))
    world.violate('liveness', `${label} does not end`);
  if (echo.heard !== CONTENT_BYTES && !isCutShort(world, caller, callee))
    world.violate('liveness', `${label}: ${echo.heard} of ${CONTENT_BYTES} bytes arrived`);
}

/** A quota below what is sent ends a talk, rightly. */
function isCutShort(world: World, caller: VirtualTerminal, callee: VirtualTerminal): boolean {
  const bytes = world.permissions.of(callee.name, caller.name)?.bytes;
  return bytes !== undefined && bytes < 2 * CONTENT_BYTES;
}
