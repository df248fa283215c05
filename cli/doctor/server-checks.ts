// The doctor looks at the way to the server: the broker's name, its TCP port, the key that it
// shows, whether it lets us in, and what o'clock it is there. The server's certificate is known by
// its key alone (ADR 0010): its names, its issuer and its dates are looked at by nobody.

import { lookup } from 'node:dns/promises';
import { createConnection, isIP } from 'node:net';
import { renewMembership } from '../../device/shell/enrol.ts';
import { ServerTrust } from '../../device/shell/server-trust.ts';
import { NakodoError, errorCode, errorMessage } from '../../protocol/errors.ts';
import { openMembership } from '../../protocol/identity/membership.ts';
import { entropy } from '../../protocol/io/entropy.ts';
import { IO_LIMITS } from '../../protocol/io/limits.ts';
import { brokerAddress } from '../../protocol/io/mqtt-link.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { PinMismatch, connectPinned } from '../../protocol/io/pinned-tls.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { formatDuration } from '../../protocol/units.ts';
import {
  type Check,
  type Finding,
  type Patient,
  fail,
  failed,
  ok,
  unchecked,
  warn,
} from './finding.ts';

/** Milliseconds by which a clock may be off before its owner should know. */
const CLOCK_OFF_MS = 60_000;
/** 2025-01-01: before it no clock of a machine that runs this can be right. */
const CLOCK_MIN_MS = 1_735_689_600_000;
const ASK_OPERATOR =
  'ask the operator whether the key was changed, and that this network leads to the real server';

/** In the order of the report. */
export const SERVER_CHECKS: readonly Check[] = [
  { name: 'name', look: lookAtName },
  { name: 'broker', look: lookAtBroker },
  { name: 'login', look: lookAtLogin },
  { name: 'membership', look: lookAtMembership },
  { name: 'clock', look: lookAtClock },
];

async function lookAtName({ brokerUrl }: Patient): Promise<Finding> {
  if (brokerUrl === undefined) return unchecked('no broker is known yet');
  const { host } = brokerAddress(brokerUrl);
  if (isIP(host) !== 0) return ok(`${host} is an address, there is no name to look up`);
  try {
    const found = await lookup(host, { all: true });
    return ok(`${host} has ${found.length} ${found.length === 1 ? 'address' : 'addresses'}`);
  } catch (error) {
    const next =
      'check the network and the name server: resolvectl status, or cat /etc/resolv.conf';
    return fail(`${host} is not found: ${errorCode(error)}`, next);
  }
}

/** TCP, TLS and the key; nothing of ours is said. */
async function lookAtBroker({ brokerUrl, enrolment, status }: Patient): Promise<Finding> {
  if (brokerUrl === undefined) return unchecked('no broker is known yet');
  const { host, port, isTls } = brokerAddress(brokerUrl);
  if (enrolment === undefined) {
    if (status?.link === 'up') return ok(`${host} port ${port}, the agent is connected`);
    return unchecked('only the owner of the home knows which key it should show');
  }
  const trust = new ServerTrust({ suite: nodeSuite, ...enrolment });
  const begun = performance.now();
  const tookMs = (): number => Math.round(performance.now() - begun);
  try {
    if (!isTls) {
      await connected(host, port);
      return ok(`${host} port ${port} answers in ${tookMs()} ms, without TLS on this machine`);
    }
    const timeoutMs = IO_LIMITS.linkConnectMs;
    const isPinned = (pin: Uint8Array): boolean => trust.isPinned(pin);
    const { socket } = await connectPinned({ host, port, isPinned, timeoutMs });
    socket.destroy();
    return ok(`${host} port ${port} answers in ${tookMs()} ms, with a key of our manager's`);
  } catch (error) {
    if (!(error instanceof PinMismatch)) return notReached(`${host} port ${port}`, error);
    if (await trust.follow(error.pin)) {
      return ok(`${host} port ${port} shows a new key, and our manager signed for it`);
    }
    const says = `${host} port ${port} shows a key that our manager did not sign for`;
    return fail(says, ASK_OPERATOR);
  }
}

function notReached(where: string, error: unknown): Finding {
  const next =
    errorCode(error) === 'ECONNREFUSED'
      ? 'the machine is there, the broker is not: ask the operator whether the server runs'
      : 'check that this network is up, and that no firewall stands before that port';
  return fail(`${where} does not answer: ${errorMessage(error) || errorCode(error)}`, next);
}

function connected(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host, port, timeout: IO_LIMITS.linkConnectMs });
    const settle = (error?: Error): void => {
      socket.destroy();
      if (error === undefined) resolve();
      else reject(error);
    };
    socket.once('connect', () => settle());
    socket.once('error', settle);
    socket.once('timeout', () => settle(new Error('it does not answer')));
  });
}

/** Both servers know this terminal: the agent says so, or the server is asked whether it would. */
async function lookAtLogin(patient: Patient): Promise<Finding> {
  const { status, identity, enrolment } = patient;
  if (status !== undefined) {
    if (status.registered) return ok('registered at the broker and the session manager');
    if (status.nextPollSeconds !== undefined) return ok('asleep until its next poll');
    const why = status.troubles.link ?? 'it is still connecting';
    return fail(`not registered: ${why}`, 'see the lines above, and the log of the agent');
  }
  if (identity === undefined || enrolment === undefined) {
    return unchecked('it takes an identity, or an agent that runs');
  }
  const asked = await serverTime(patient);
  if (asked instanceof NakodoError) return failed(asked);
  return ok('the server knows this terminal and would let it in');
}

function lookAtMembership({ status, enrolment }: Patient): Finding {
  const expiresAt =
    status?.membershipExpiresAt ??
    (enrolment && openMembership(nodeSuite, enrolment.managerKey, enrolment.membership)?.expiresAt);
  if (expiresAt === undefined) return unchecked('there is none to be read');
  const now = Date.now() + (status?.clockOffsetMs ?? 0);
  const leftMs = expiresAt * MS_PER_SECOND - now;
  if (leftMs <= 0) {
    const ago = formatDuration(-leftMs);
    // It is renewed over HTTPS when the broker refuses the old one.
    const next = 'nothing, if the agent was off: it is renewed when it starts; else see its log';
    return warn(`ran out ${ago} ago`, next);
  }
  const renewalMs = leftMs - (LIMITS.membershipSeconds - LIMITS.channelSeconds) * MS_PER_SECOND;
  const when =
    status === undefined
      ? 'renewed when the agent connects'
      : `renewed in ${formatDuration(Math.max(0, renewalMs))} at the latest`;
  return ok(`good for ${formatDuration(leftMs)}, ${when}`);
}

async function lookAtClock(patient: Patient): Promise<Finding> {
  const known = patient.status?.clockOffsetMs ?? (await offsetMs(patient));
  const next = 'sudo timedatectl set-ntp true; nakodo itself goes by the server, your logs do not';
  if (Date.now() < CLOCK_MIN_MS) return warn('the clock of this machine was never set', next);
  if (known === undefined) return unchecked('no server said what time it is; it looks sensible');
  if (Math.abs(known) < MS_PER_SECOND) return ok("the same as the server's");
  const ahead = known > 0 ? 'behind' : 'ahead of';
  const off = `${formatDuration(Math.abs(known))} ${ahead} the server's`;
  return Math.abs(known) <= CLOCK_OFF_MS ? ok(off) : warn(`the clock is ${off}`, next);
}

async function offsetMs(patient: Patient): Promise<number | undefined> {
  const asked = await serverTime(patient);
  return typeof asked === 'number' ? asked : undefined;
}

const asked = new WeakMap<Patient, Promise<number | NakodoError | undefined>>();

/**
 * Milliseconds by which the server's clock is ahead, from a membership that it is asked for and
 * that nobody keeps; asked once for all checks. The error where it refuses.
 */
function serverTime(patient: Patient): Promise<number | NakodoError | undefined> {
  const known = asked.get(patient) ?? askServerTime(patient);
  asked.set(patient, known);
  return known;
}

async function askServerTime(patient: Patient): Promise<number | NakodoError | undefined> {
  const { identity, enrolment } = patient;
  if (identity === undefined || enrolment === undefined) return undefined;
  const trust = new ServerTrust({ suite: nodeSuite, ...enrolment });
  const tools = { suite: nodeSuite, rng: entropy, trust };
  try {
    const { membership } = await renewMembership(enrolment, identity, tools);
    const off = membership.issuedAt * MS_PER_SECOND - Date.now();
    // It says whole seconds: so much is no difference.
    return off < 0 && off > -MS_PER_SECOND ? 0 : off;
  } catch (error) {
    if (error instanceof NakodoError) return error;
    throw error;
  }
}
