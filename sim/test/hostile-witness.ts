// Holds what terminals, manager and log say against what really happened, in the moment in which
// it comes out. It knows who may talk to whom, what the operator ordered, what the manager granted,
// and by the cores' own cryptography (ground-truth.ts) who signed and sealed what.

import {
  decodeVerdict,
  extensionStatement,
  requestStatement,
} from '../../protocol/consent/statements.ts';
import { decodeCbor } from '../../protocol/control/cbor.ts';
import type { DeviceId, RequestId, SessionId } from '../../protocol/ids.ts';
import { type Micros, after, ms } from '../../protocol/time.ts';
import type { CallFailure, CallId, TerminalEvent } from '../../device/terminal-types.ts';
import type { LogEntry } from '../../session-manager/log.ts';
import type { SessionChange } from '../../session-manager/manager-types.ts';
import type { GroundTruth } from './ground-truth.ts';

/** Beyond its own wait, for a call that was made while its terminal was not registered. */
const GRACE_MS = 2_001;
const FAILURES_MAX = 20;

interface Call {
  readonly caller: DeviceId;
  readonly call: CallId;
  readonly until: Micros;
}

/** The checks of one world. */
export class Witness {
  /** What must not be; the first FAILURES_MAX. */
  readonly failures: string[] = [];
  /** How calls ended. */
  readonly outcomes = new Map<CallFailure | 'introduced' | 'lost with its terminal', number>();
  established = 0;
  /** Calls that should have led to a talk. */
  permittedCalls = 0;
  /** Longest time from a call to its end, microseconds beyond its wait. */
  longestBeyond = 0;
  readonly #truth: GroundTruth;
  readonly #permitted = new Set<string>();
  readonly #begun = new Map<SessionId, SessionChange['session']>();
  readonly #totals = new Set<string>();
  readonly #ended = new Set<SessionId>();
  readonly #ordered = new Set<SessionId>();
  readonly #revoked = new Set<DeviceId>();
  readonly #once = new Set<string>();
  readonly #calls = new Map<string, Call>();
  #nonces = new Set<RequestId>();

  constructor(truth: GroundTruth) {
    this.#truth = truth;
  }

  permit(caller: DeviceId, callee: DeviceId): void {
    this.#permitted.add(`${caller}/${callee}`);
  }

  isPermitted(caller: DeviceId, callee: DeviceId): boolean {
    return this.#permitted.has(`${caller}/${callee}`);
  }

  get openCalls(): number {
    return this.#calls.size;
  }

  get begun(): number {
    return this.#begun.size;
  }

  onCall(now: Micros, caller: DeviceId, call: CallId, waitMs: number): void {
    const until = after(now, ms(waitMs + GRACE_MS));
    this.#calls.set(`${caller}/${call}`, { caller, call, until });
  }

  /** A terminal's process was killed: nobody waits for its calls any more. */
  onReboot(device: DeviceId): void {
    for (const [key, { caller }] of this.#calls) {
      if (caller !== device) continue;
      this.#calls.delete(key);
      this.#count('lost with its terminal');
    }
  }

  onRestart(): void {
    this.#nonces = new Set();
  }

  onOrder(session: SessionId): void {
    this.#ordered.add(session);
  }

  onRevoke(device: DeviceId): void {
    this.#revoked.add(device);
  }

  /** After every step: calls that should have ended, and what the cryptography noticed. */
  onStep(now: Micros): void {
    for (const [key, { until }] of this.#calls) {
      if (now <= until) continue;
      this.#calls.delete(key);
      this.fail(`call ${key} has not ended within its wait and ${GRACE_MS} ms`);
    }
    const { faults } = this.#truth;
    while (faults.length > 0) this.fail(faults.shift() ?? '');
  }

  onChange({ event, session }: SessionChange): void {
    const { session: id, callerId, calleeId } = session;
    if (event === 'begun') {
      this.#only(`manager: ${id} begins`);
      this.#begun.set(id, session);
      if (!this.isPermitted(callerId, calleeId)) this.fail(`the manager began ${id}, not allowed`);
    }
    if (event === 'extended') this.#totals.add(totalsOf(id, session.seconds, session.bytes));
    if (event === 'ended' && this.#ended.has(id)) this.fail(`the manager ended ${id} twice`);
    if (event === 'ended') this.#ended.add(id);
  }

  /** An entry of the log on its way to disk. */
  onLogged(entry: LogEntry): void {
    switch (entry.kind) {
      case 'introduced':
        return this.#onIntroduction(entry);
      case 'extended':
      case 'unused': {
        const asked = decodeCbor(extensionStatement, entry.request);
        this.#signed(asked?.askerId, 'extension', entry.request);
        return this.#signed(decodeVerdict(entry.verdict)?.calleeId, 'verdict', entry.verdict);
      }
      case 'revoked':
        if (!this.#revoked.has(entry.device)) this.fail(`the log revokes ${entry.device}`);
        this.#once.add(`revoked ${entry.device}`);
        return;
      case 'cloned':
        return this.fail(`the log calls ${entry.name} a clone`);
      default:
        return;
    }
  }

  onEvent(now: Micros, device: DeviceId, event: TerminalEvent): void {
    switch (event.kind) {
      case 'callFailed':
        this.#onCallOver(now, device, event.call, event.why);
        return;
      case 'introduced':
        this.#onIntroduced(now, device, event);
        return;
      case 'ended': {
        const { session, reason } = event;
        this.#only(`${device}: ${session} ends`);
        const isOrdered = this.#ordered.has(session) || this.#isOfRevoked(session);
        if ((reason === 'operator' || reason === 'revoked') && !isOrdered) {
          this.fail(`${device} ended ${session} by an order that nobody gave: ${reason}`);
        }
        return;
      }
      case 'extended': {
        const totals = totalsOf(event.session, event.seconds, event.bytes);
        this.#only(`${device}: ${totals}`);
        if (!this.#totals.has(totals)) this.fail(`${device} extended ${totals}, not granted`);
        return;
      }
      case 'talk':
        if (event.event.kind !== 'established') return;
        this.#only(`${device}: ${event.session} is established`);
        this.established += 1;
        return;
      case 'peerChanged':
        return this.fail(`${device} saw another ${event.name}`);
      case 'registerRefused':
        // A broker can say "not enrolled"; what only a manager says must be true.
        if (event.code === 'not-enrolled' || event.code === 'busy') return;
        return this.fail(`${device} was refused: ${event.code}`);
      default:
        return;
    }
  }

  fail(what: string): void {
    if (this.failures.length < FAILURES_MAX) this.failures.push(what);
  }

  #onIntroduction(entry: Extract<LogEntry, { kind: 'introduced' }>): void {
    const { session, callerId, calleeId, request, verdict } = entry;
    if (!this.isPermitted(callerId, calleeId)) this.fail(`the log introduces ${session}`);
    for (const device of [callerId, calleeId]) {
      if (this.#once.has(`revoked ${device}`)) this.fail(`${device} was introduced after all`);
    }
    this.#signed(callerId, 'request', request);
    this.#signed(calleeId, 'verdict', verdict);
    if (decodeVerdict(verdict)?.callerId !== callerId) this.fail(`${session}: another verdict`);
    const nonce = decodeCbor(requestStatement, request)?.nonce;
    if (nonce === undefined || this.#nonces.has(nonce)) {
      this.fail(`the log introduces twice by one request: ${session}`);
    } else this.#nonces.add(nonce);
  }

  #onIntroduced(
    now: Micros,
    device: DeviceId,
    event: Extract<TerminalEvent, { kind: 'introduced' }>,
  ): void {
    const { session, call, peer } = event;
    this.#only(`${device}: ${session} is introduced`);
    const row = this.#begun.get(session);
    const [caller, callee] = call === undefined ? [peer.id, device] : [device, peer.id];
    if (row?.callerId !== caller || row.calleeId !== callee) {
      this.fail(`${device} was introduced to ${peer.name} by nobody`);
    }
    if (!this.isPermitted(caller, callee)) this.fail(`${caller} talks to ${callee}, not allowed`);
    if (call !== undefined) this.#onCallOver(now, device, call, 'introduced');
  }

  #onCallOver(now: Micros, device: DeviceId, call: CallId, why: CallFailure | 'introduced'): void {
    const key = `${device}/${call}`;
    const open = this.#calls.get(key);
    if (open === undefined) this.fail(`call ${key} ended twice, or too late: ${why}`);
    else this.longestBeyond = Math.max(this.longestBeyond, now - open.until + ms(GRACE_MS));
    this.#calls.delete(key);
    this.#count(why);
  }

  #count(outcome: CallFailure | 'introduced' | 'lost with its terminal'): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }

  #isOfRevoked(session: SessionId): boolean {
    const row = this.#begun.get(session);
    return (
      row !== undefined && (this.#revoked.has(row.callerId) || this.#revoked.has(row.calleeId))
    );
  }

  #signed(
    by: DeviceId | undefined,
    label: 'request' | 'verdict' | 'extension',
    statement: Uint8Array,
  ): void {
    if (by !== undefined && this.#truth.hasSigned(by, label, statement)) return;
    this.fail(`the log holds a ${label} that ${by ?? 'nobody'} did not sign`);
  }

  /** Something that happens once. */
  #only(what: string): void {
    if (this.#once.has(what)) this.fail(`twice: ${what}`);
    this.#once.add(what);
  }
}

const totalsOf = (session: SessionId, secondsGranted: number, bytes: number | undefined): string =>
  `${session} to ${secondsGranted} s, ${bytes ?? 'any'} bytes`;
