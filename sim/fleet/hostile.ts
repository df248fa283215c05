// A hostile terminal of a fleet: enrolled like all others, with a program of its own. In turn it
// calls whom it likes as fast as it can (who refuses it, who does not exist), and leaves its agent
// for a bare link to the broker on which it says what is no message, what is not its own to say,
// and what others would. It never gets more than its place in the policy: its introductions are
// judged like everybody's.

import { setTimeout as delay } from 'node:timers/promises';
import { loadEnrolment, loadIdentity, openHome } from '../../device/shell/home.ts';
import { Login } from '../../device/shell/login.ts';
import { encodeMessage } from '../../protocol/control/codec.ts';
import { topic } from '../../protocol/control/topics.ts';
import { base32 } from '../../protocol/base32.ts';
import type { Message } from '../../protocol/control/messages.ts';
import {
  type DeviceId,
  type RecordId,
  randomRecordId,
  randomRequestId,
} from '../../protocol/ids.ts';
import { CorrectedClock } from '../../protocol/io/clock.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { silentLog } from '../../protocol/io/log.ts';
import { type MqttLink, brokerAddress, openLink } from '../../protocol/io/mqtt-link.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Rng, randomBelow, randomBytes } from '../../protocol/random.ts';
import type { Calls } from './calls.ts';
import type { FleetTerminal } from './fleet-terminal.ts';
import { FLEET_LIMITS } from './limits.ts';
import type { FleetPlan } from './plan.ts';
import type { Tally } from './tally.ts';

/** Milliseconds of calls, then of raving; and between two calls, or two messages. */
const CALLING_MS = 4_000;
const RAVING_MS = 1_500;
const CALL_EVERY_MS = 100;
const RAVE_EVERY_MS = 20;
/** One call in so many is for a name that nobody has. */
const UNKNOWN_EVERY = 4;
const CHANNEL_BYTES = 8;
const NOISE_BYTES = 48;
const BOX_BYTES_MAX = 400;
const DEVICE_ID_BYTES = 20;
/** TEST-NET-1 (RFC 5737): it lies about where it is. */
const NOWHERE = Uint8Array.of(192, 0, 2, 1);

interface HostileOptions {
  readonly terminal: FleetTerminal;
  readonly plan: FleetPlan;
  readonly active: number;
  readonly calls: Calls;
  readonly tally: Tally;
  readonly rng: Rng;
  readonly waitMs: number;
}

/** Lives until it is told to end; never rejects for what the servers do to it. */
export async function beHostile(options: HostileOptions, signal: AbortSignal): Promise<void> {
  const { terminal, rng } = options;
  let isRaving = randomBelow(rng, 2) === 0;
  while (!signal.aborted) {
    if (!isRaving) await flood(options, signal);
    isRaving = false;
    if (signal.aborted) return;
    await terminal.stop();
    await rave(options, signal).catch(() => undefined);
    if (!signal.aborted) await terminal.start();
  }
}

/** Calls without waiting for answers, at most FLEET_LIMITS.hostileCallsMax at once. */
async function flood(options: HostileOptions, signal: AbortSignal): Promise<void> {
  const { rng, tally } = options;
  let underWay = 0;
  const until = performance.now() + CALLING_MS;
  while (!signal.aborted && performance.now() < until) {
    if (underWay < FLEET_LIMITS.hostileCallsMax) {
      underWay += 1;
      tally.add('hostileCalls');
      const call = randomBelow(rng, UNKNOWN_EVERY) === 0 ? callNobody(options) : callOne(options);
      void call.finally(() => {
        underWay -= 1;
      });
    }
    await delay(CALL_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

async function callNobody({ terminal, rng, tally, waitMs }: HostileOptions): Promise<void> {
  const to = `nobody-${randomBelow(rng, 1_000)}`;
  try {
    const session = await terminal.agent?.call({ to, service: 'file', waitMs });
    if (session === undefined) return;
    session.finish('local');
    tally.addFault('wronglyIntroduced', `${terminal.planned.name} → ${to}, whom nobody is`);
  } catch {
    tally.add('hostileRefused');
  }
}

async function callOne(options: HostileOptions): Promise<void> {
  const { terminal, plan, active, calls, rng, tally, waitMs } = options;
  const callee = randomBelow(rng, active);
  const service = plan.services[randomBelow(rng, plan.services.length)];
  const call = { caller: terminal.at, callee, service };
  const before = calls.verdict(call);
  let isIntroduced = false;
  const onIntroduced = (): void => {
    isIntroduced = true;
    const isWrong = before === 'forbidden' && calls.verdict(call) === 'forbidden';
    if (isWrong || callee === terminal.at) tally.addFault('wronglyIntroduced', calls.label(call));
    else tally.add('hostileIntroduced');
  };
  try {
    const to = plan.terminals[callee].name;
    const session = await terminal.agent?.call({ to, service, waitMs, onIntroduced });
    session?.finish('local');
  } catch {
    if (!isIntroduced) tally.add('hostileRefused');
  }
}

/** A bare link under its own name, and everything that must not be said on it. */
async function rave(options: HostileOptions, signal: AbortSignal): Promise<void> {
  const { terminal, rng, tally } = options;
  const home = await openHome(terminal.home);
  const enrolment = await loadEnrolment(home);
  if (enrolment === undefined) return;
  const identity = await loadIdentity(home, nodeSuite);
  const parts = { home, identity, enrolment, suite: nodeSuite, rng: entropy };
  const login = new Login({ ...parts, clock: new CorrectedClock(), log: silentLog });
  const { isTls } = brokerAddress(enrolment.brokerUrl);
  const nothing = (): void => {};
  const link = openLink({
    url: enrolment.brokerUrl,
    ...(isTls ? { isPinned: (pin: Uint8Array) => login.isPinned(pin) } : {}),
    clientId: identity.id,
    username: 'terminal',
    password: (server) => login.token(server),
    subscriptions: [topic('call', identity.id), topic('down', identity.id)],
    onUp: nothing,
    onDown: nothing,
    onMessage: nothing,
  });
  try {
    const until = performance.now() + RAVING_MS;
    let said = 0;
    while (!signal.aborted && performance.now() < until && said < FLEET_LIMITS.hostileMessages) {
      if (link.isUp) {
        sayNonsense(link, identity.id, rng);
        said += 1;
        tally.add('hostileMessages');
      }
      await delay(RAVE_EVERY_MS, undefined, { signal }).catch(() => undefined);
    }
    // What is not its own to say: the broker shows it the door.
    if (link.isUp) link.publish(topic('down', othersId(rng)), randomBytes(rng, NOISE_BYTES));
  } finally {
    await link.close();
    await login.settled();
  }
}

function sayNonsense(link: MqttLink, own: DeviceId, rng: Rng): void {
  const places = ['up', 'allow-list', 'address'] as const;
  link.publish(topic(places[randomBelow(rng, places.length)], own), nonsense(rng));
}

/** Bytes that are no message, messages cut short or bent, and whole ones that nobody can open. */
function nonsense(rng: Rng): Uint8Array {
  const whole = encodeMessage(forged(rng));
  switch (randomBelow(rng, 5)) {
    case 0:
      return randomBytes(rng, randomBelow(rng, BOX_BYTES_MAX));
    case 1:
      return whole.subarray(0, randomBelow(rng, whole.length));
    case 2: {
      const bent = whole.slice();
      bent[randomBelow(rng, bent.length)] ^= 1 << randomBelow(rng, 8);
      return bent;
    }
    case 3:
      return randomBytes(rng, LIMITS.sealedBytesMax);
    default:
      return whole;
  }
}

function forged(rng: Rng): Message {
  const channel = randomBytes(rng, CHANNEL_BYTES);
  const request = randomRequestId(rng);
  switch (randomBelow(rng, 4)) {
    case 0:
      return { kind: 'hello', request, channel, noise: randomBytes(rng, NOISE_BYTES) };
    case 1:
      return { kind: 'welcome', request, channel, noise: randomBytes(rng, NOISE_BYTES) };
    case 2: {
      const record: RecordId = randomRecordId(rng);
      const candidates = [{ address: NOWHERE, port: 9, type: 'host' as const }];
      return { kind: 'address', record, candidates };
    }
    default: {
      const box = randomBytes(rng, NOISE_BYTES + randomBelow(rng, BOX_BYTES_MAX));
      return { kind: 'sealed', channel, sequence: randomBelow(rng, 100), box };
    }
  }
}

const othersId = (rng: Rng): DeviceId => base32(randomBytes(rng, DEVICE_ID_BYTES)) as DeviceId;
