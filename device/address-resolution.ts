// Means 14 [claim 2]: the user names a peer, the terminal asks the session manager for it by name,
// signed, opens a socket meanwhile, records where that can be reached, and waits for address
// notice 1, which counts only with the peer's own signed answer, and from whom the pin says.
// A refusal and a wait that ran out look the same, and nothing of the call is kept.

import { type Request, requestHash, signRequest } from '../protocol/consent/statements.ts';
import { type Candidate, type MessageOf, terms } from '../protocol/control/messages.ts';
import { ascii, uint } from '../protocol/control/schema.ts';
import { UsageError } from '../protocol/errors.ts';
import type { Grant } from '../protocol/grant.ts';
import type { RecordId, RequestId } from '../protocol/ids.ts';
import { isName, randomRecordId, randomRequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { Rng } from '../protocol/random.ts';
import {
  MICROS_PER_MS,
  type Micros,
  NEVER,
  after,
  earlier,
  ms,
  seconds,
} from '../protocol/time.ts';
import {
  type Introduction,
  type NoticeOutcome,
  type Self,
  introduction,
  isConsented,
  isWithin,
  readGrant,
} from './address-notice.ts';
import type { Gathered } from './meeting/gathering.ts';
import { MEETING_LIMITS } from './meeting/limits.ts';
import type { Outbox } from './outbox.ts';
import type { Pins } from './pins.ts';
import type { Requests } from './requests.ts';
import type { MeetingHints } from './signed-answer.ts';
import type {
  CallFailure,
  CallId,
  RefusalReason,
  SocketId,
  TerminalInput,
  TerminalStatus,
} from './terminal-types.ts';

type CallInput = Extract<TerminalInput, { kind: 'call' }>;

interface Call {
  readonly input: CallInput;
  readonly socket: SocketId;
  readonly request: RequestId;
  readonly record: RecordId;
  /** Undefined until the socket is open. */
  candidates: readonly Candidate[] | undefined;
  /** STUN servers were asked: a NAT may stand in between. */
  isMapped: boolean;
  /** They are being asked. */
  isGathering: boolean;
  /** When the user's wait is over, counted from the call; the manager refuses then. */
  readonly until: Micros;
  /** When the broker's copy of our addresses is renewed: it forgets them. */
  refreshAt: Micros;
}

interface ResolutionOptions {
  readonly self: Self;
  readonly rng: Rng;
  readonly outbox: Outbox;
  readonly requests: Requests;
  readonly pins: Pins;
  /** What the manager is told so that two terminals meet. */
  readonly hints: (socket: SocketId) => MeetingHints;
  readonly isOnLoopback: (socket: SocketId) => boolean;
}

/** The outgoing calls that wait for an answer. */
export class AddressResolution {
  readonly #self: Self;
  readonly #rng: Rng;
  readonly #outbox: Outbox;
  readonly #requests: Requests;
  readonly #pins: Pins;
  readonly #hints: (socket: SocketId) => MeetingHints;
  readonly #isOnLoopback: (socket: SocketId) => boolean;
  readonly #calls = new Map<CallId, Call>();

  constructor(options: ResolutionOptions) {
    const { self, rng, outbox, requests, pins, hints, isOnLoopback } = options;
    this.#isOnLoopback = isOnLoopback;
    this.#self = self;
    this.#rng = rng;
    this.#outbox = outbox;
    this.#requests = requests;
    this.#pins = pins;
    this.#hints = hints;
  }

  get size(): number {
    return this.#calls.size;
  }

  /**
   * [S1002, S1003, claim 2]: the user names the destination; the terminal asks at once, naming
   * an address record that follows as soon as its socket is open (ADR 0007).
   * @throws UsageError `call-taken`, `bad-name`, `bad-service`, `bad-terms`, `bad-wait`
   */
  call(now: Micros, input: CallInput): void {
    if (this.#calls.has(input.call)) {
      throw new UsageError('call-taken', `call: ${input.call} is already under way`);
    }
    checkCall(input);
    const socket = this.#outbox.openSocket();
    if (socket === undefined) {
      this.#outbox.event({ kind: 'callFailed', call: input.call, why: 'busy' });
      return;
    }
    const request = randomRequestId(this.#rng);
    const record = randomRecordId(this.#rng);
    const call: Call = {
      input,
      socket,
      request,
      record,
      candidates: undefined,
      isMapped: false,
      isGathering: false,
      until: after(now, ms(input.waitMs)),
      refreshAt: NEVER,
    };
    this.#calls.set(input.call, call);
    this.#ask(now, call);
  }

  /** False if there is no such call. */
  cancel(call: CallId): boolean {
    const found = this.#calls.get(call);
    if (found === undefined) return false;
    this.#fail(found, 'cancelled');
    return true;
  }

  /** Under which ID the addresses of a call's socket are recorded. */
  recordOf(socket: SocketId): RecordId | undefined {
    return this.#bySocket(socket)?.record;
  }

  /**
   * Records the addresses of the new socket [S1000], or those of one that is asked about anew: in
   * another network nothing else is known by then. `gathering`: STUN servers are still being asked.
   * False if the socket is not a call's.
   */
  onSocketOpen(
    now: Micros,
    socket: SocketId,
    candidates: readonly Candidate[],
    gathering: boolean,
  ): boolean {
    const call = this.#bySocket(socket);
    if (call === undefined) return false;
    call.candidates = candidates.slice(0, LIMITS.candidatesMax);
    call.isGathering = gathering;
    this.#sendAddress(now, call);
    return true;
  }

  /** Everything that can be known of the socket's addresses is. False if it is not a call's. */
  onGathered(now: Micros, socket: SocketId, { candidates, isMapped }: Gathered): boolean {
    const call = this.#bySocket(socket);
    if (call === undefined) return false;
    call.isMapped = isMapped !== undefined;
    call.isGathering = false;
    call.candidates = candidates.slice(0, LIMITS.candidatesMax);
    this.#sendAddress(now, call);
    return true;
  }

  onSocketFailed(socket: SocketId): boolean {
    const call = this.#bySocket(socket);
    if (call === undefined) return false;
    this.#fail(call, 'socket');
    return true;
  }

  /**
   * A new link. What could not be asked before is asked for the rest of its wait: whoever holds up
   * the link does not hold up the user. A broker that was restarted knows nobody.
   */
  onRegistered(now: Micros): void {
    for (const call of this.#calls.values()) {
      if (!this.#requests.wasPublished(call.request)) {
        if (now >= call.until) {
          this.#fail(call, 'no-link');
          continue;
        }
        this.#requests.settle(call.request);
        this.#ask(now, call);
      }
      if (call.candidates === undefined) continue;
      // Behind a NAT it may be the link of another network.
      if (call.isMapped || !this.#requests.has(call.record)) this.#renew(now, call);
    }
  }

  /** [S2010 told to us]: refused, unknown, asleep, away: all the same. False if not a call's. */
  onRefusal(message: MessageOf<'refusal'>): boolean {
    const call = this.#byRequest(message.request);
    if (call === undefined) return false;
    this.#fail(call, 'refused', message.why);
    return true;
  }

  /** Whether a call of this boot waits for an answer to this request. */
  owns(request: RequestId): boolean {
    return this.#byRequest(request) !== undefined;
  }

  /**
   * [S1004]: address notice 1; undefined if nothing comes of it. It has to echo this boot's
   * request, keep to what was asked, carry the callee's own answer, and show whom the pin says.
   */
  onNotice(message: MessageOf<'addressNotice'>): NoticeOutcome | undefined {
    const call = this.#byRequest(message.request);
    if (call === undefined) return undefined;
    const grant = readGrant(this.#self, message);
    const introduced = grant === undefined ? undefined : this.#introduction(call, message, grant);
    if (grant === undefined || introduced === undefined) {
      this.#outbox.count('badNotice');
      this.#fail(call, 'bad-notice');
      if (grant?.callerId !== this.#self.id) return undefined;
      return { voided: grant, reason: 'protocol-error' };
    }
    const { name, id: seen } = introduced.peer;
    const pinned = this.#pins.idOf(name);
    if (pinned !== undefined && pinned !== seen) {
      this.#pins.onMismatch({ name, pinned, seen, role: 'caller' });
      this.#fail(call, 'peer-changed');
      return { voided: grant, reason: 'protocol-error' };
    }
    this.#forget(call);
    return { introduced };
  }

  handleTimeout(now: Micros): void {
    for (const call of this.#calls.values()) {
      if (now >= deadlineOf(call)) {
        // The manager answers every call at its time: one that hears nothing has not been refused.
        this.#fail(call, this.#requests.wasPublished(call.request) ? 'no-answer' : 'no-link');
      } else if (now >= call.refreshAt) {
        this.#renew(now, call);
      }
    }
  }

  nextTimeout(): Micros {
    let next = NEVER;
    for (const call of this.#calls.values()) {
      next = earlier(next, earlier(deadlineOf(call), call.refreshAt));
    }
    return next;
  }

  status(): TerminalStatus['calls'] {
    return [...this.#calls.values()].map(({ input, candidates }) => ({
      call: input.call,
      callee: input.callee,
      service: input.service,
      state: candidates === undefined ? 'opening' : 'waiting',
    }));
  }

  /** [S1003]: signed, and for as long as the user still waits. */
  #ask(now: Micros, { input, socket, request, record, until }: Call): void {
    const { callee, service, want } = input;
    this.#requests.send(now, request, 'up', {
      kind: 'connect',
      request,
      callerName: this.#self.name,
      calleeName: callee,
      service,
      want,
      waitMs: Math.ceil((until - now) / MICROS_PER_MS),
      record,
      signature: signRequest(this.#self.signingKey, this.#requestOf(request, input)),
      ...this.#hints(socket),
    });
  }

  /**
   * Records the addresses once more. A NAT forgets a socket that is not used, and the answer may
   * take long, as an owner is asked: where there is one, the servers are asked again first.
   */
  #renew(now: Micros, call: Call): void {
    if (!call.isMapped) {
      this.#sendAddress(now, call);
      return;
    }
    call.refreshAt = after(now, ms(MEETING_LIMITS.mappingMs));
    this.#outbox.push({ kind: 'gather', socket: call.socket });
  }

  #sendAddress(now: Micros, call: Call): void {
    const renewed = seconds(LIMITS.recordSecondsMax / 2);
    call.refreshAt = after(now, call.isMapped ? ms(MEETING_LIMITS.mappingMs) : renewed);
    this.#requests.send(now, call.record, 'address', {
      kind: 'address',
      record: call.record,
      candidates: call.candidates ?? [],
      gathering: call.isGathering || undefined,
    });
  }

  /** What the grant and the callee's own answer come to, if they are what this call asked for. */
  #introduction(
    call: Call,
    message: MessageOf<'addressNotice'>,
    grant: Grant,
  ): Introduction | undefined {
    const { callee, service, want, extend } = call.input;
    const isAsked =
      grant.calleeName === callee &&
      grant.service === service &&
      isWithin(grant.seconds, want.seconds) &&
      isWithin(grant.bytes, want.bytes);
    if (!isAsked) return undefined;
    const introduced = introduction(this.#self, message, grant, {
      role: 'caller',
      socket: call.socket,
      call: call.input.call,
      extend,
      isOnLoopback: this.#isOnLoopback(call.socket),
    });
    const asked = requestHash(this.#self.suite, this.#requestOf(call.request, call.input));
    return isConsented(this.#self, message, grant, asked) ? introduced : undefined;
  }

  /** What this terminal signs of a call. */
  #requestOf(nonce: RequestId, { callee, service, want }: CallInput): Request {
    const { id: callerId, name: callerName } = this.#self;
    return { nonce, callerId, callerName, calleeName: callee, service, want };
  }

  #fail(call: Call, why: CallFailure, reason?: RefusalReason): void {
    this.#forget(call);
    this.#outbox.closeSocket(call.socket);
    this.#outbox.event({ kind: 'callFailed', call: call.input.call, why, reason });
  }

  #forget(call: Call): void {
    this.#requests.settle(call.request);
    this.#requests.settle(call.record);
    this.#calls.delete(call.input.call);
  }

  #byRequest(request: RequestId): Call | undefined {
    for (const call of this.#calls.values()) if (call.request === request) return call;
    return undefined;
  }

  #bySocket(socket: SocketId): Call | undefined {
    for (const call of this.#calls.values()) if (call.socket === socket) return call;
    return undefined;
  }
}

/** The manager answers at the caller's own wait, so a little later nobody will. */
function deadlineOf({ until }: Call): Micros {
  return after(until, ms(LIMITS.answerGraceMs));
}

/** @throws UsageError `bad-name`, `bad-service`, `bad-terms`, `bad-wait` */
function checkCall({ callee, service, want, waitMs }: CallInput): void {
  if (!isName(callee)) throw new UsageError('bad-name', 'callee: wanted the name of a terminal');
  if (ascii(LIMITS.serviceNameMax).read(service) === undefined) {
    const wanted = `1 to ${LIMITS.serviceNameMax} printable ASCII characters`;
    throw new UsageError('bad-service', `service: wanted ${wanted}, no blank`);
  }
  if (terms.read(terms.write(want)) === undefined) {
    throw new UsageError('bad-terms', 'want: wanted whole seconds and bytes that a grant can hold');
  }
  if (uint(LIMITS.waitMsMax).read(waitMs) === undefined) {
    throw new UsageError('bad-wait', `waitMs: got ${waitMs}, at most ${LIMITS.waitMsMax}`);
  }
}
