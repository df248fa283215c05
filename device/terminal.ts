// The terminal, a pure core [means 11–17, claim 19]: it registers, answers for its owner, asks for
// others by name, talks and ends. This file only sorts what comes in to the part that it concerns;
// the story is in sealed-channels.ts, registration.ts, allow-list-answers.ts, polling.ts,
// address-resolution.ts, talks.ts, extension.ts and ending.ts. Of what claims to be the manager's
// only what its channel opens is obeyed. A driver hands it one input, then drains poll() and
// pollTransmit(), then arms one timer for nextTimeout() (protocol/core.ts). Long because it is the
// one place where all parts meet, and the one list of what may come from whom.

import type { RelayPolicy } from '../protocol/address.ts';
import { decodeMessage } from '../protocol/control/codec.ts';
import type { Message, MessageOf } from '../protocol/control/messages.ts';
import type { Path } from '../protocol/core.ts';
import type { CryptoSuite, DhKey, SigningKey } from '../protocol/crypto.ts';
import type { ConnectionConfig, Talk } from '../protocol/data/connection-types.ts';
import { NO_COUNTS } from '../protocol/ends.ts';
import { decodeExpiry } from '../protocol/grant.ts';
import type { DeviceId, Name, SessionId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { Rng } from '../protocol/random.ts';
import { MICROS_PER_SECOND, type Micros, NEVER, earlier, micros } from '../protocol/time.ts';
import type { Introduction, NoticeOutcome, Self } from './address-notice.ts';
import { AddressResolution } from './address-resolution.ts';
import { AllowListAnswers } from './allow-list-answers.ts';
import { Ending } from './ending.ts';
import { Extension } from './extension.ts';
import { ListReadings } from './list-readings.ts';
import type { Gathered } from './meeting/gathering.ts';
import { type OwnAddresses, Reachability } from './meeting/reachability.ts';
import { Outbox } from './outbox.ts';
import { OwnerQuestions } from './owner-questions.ts';
import { Pins } from './pins.ts';
import { Polling } from './polling.ts';
import { Registration } from './registration.ts';
import { Requests } from './requests.ts';
import { SealedChannels } from './sealed-channels.ts';
import type { MeetingHints } from './signed-answer.ts';
import { type TalkTransmit, Talks, type TraceOf } from './talks.ts';
import type { SocketId, TerminalInput, TerminalOutput, TerminalStatus } from './terminal-types.ts';

interface TerminalOptions {
  readonly id: DeviceId;
  readonly name: Name;
  /** The manager's Ed25519 key, 32 bytes: signs grants and expiries. */
  readonly managerKey: Uint8Array;
  /** The manager's X25519 key, 32 bytes: what is said to it is sealed for this key. */
  readonly managerAgreementKey: Uint8Array;
  /** This terminal's Ed25519 key. */
  readonly signingKey: SigningKey;
  /** This terminal's X25519 key. */
  readonly localKey: DhKey;
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  /** Seconds between two polls of a terminal that sleeps; undefined: always connected. */
  readonly pollSeconds?: number | undefined;
  /** Whether talks may pass through a relay; default: if needed. */
  readonly relay?: RelayPolicy | undefined;
  /** Overrides for every talk. */
  readonly connection?: Partial<ConnectionConfig> | undefined;
  readonly traceOf?: TraceOf | undefined;
}

/** One terminal [claim 1, claim 19]. */
export class Terminal {
  readonly #self: Self;
  readonly #outbox = new Outbox();
  readonly #requests: Requests;
  readonly #channels: SealedChannels;
  readonly #registration: Registration;
  readonly #resolution: AddressResolution;
  readonly #answers: AllowListAnswers;
  readonly #extension: Extension;
  readonly #ending: Ending;
  readonly #talks: Talks;
  readonly #polling: Polling;
  readonly #readings: ListReadings;
  readonly #questions: OwnerQuestions;
  readonly #pins: Pins;
  readonly #reachability: Reachability;
  readonly #relay: RelayPolicy;
  #now: Micros = micros(0);
  #isLinkUp = false;
  readonly #isPolling: boolean;

  /** @throws UsageError `bad-manager-key` if the manager's X25519 key is none. */
  constructor(options: TerminalOptions) {
    const { id, name, managerKey, signingKey, suite, rng, localKey, pollSeconds } = options;
    const self: Self = { id, name, managerKey, signingKey, suite };
    const outbox = this.#outbox;
    const requests = new Requests(outbox, rng);
    const readings = new ListReadings(outbox);
    const ending = new Ending({ self, rng, outbox, requests });
    const questions = new OwnerQuestions(outbox);
    const pins = new Pins(outbox);
    const asking = { self, rng, outbox, requests, readings, questions, pins };
    const extension = new Extension(asking);
    const onOutcome = this.#onOutcome.bind(this);
    const { relay = 'if-needed' } = options;
    const reachability = new Reachability(rng, this.#onGathered.bind(this));
    const isOnLoopback = (socket: SocketId): boolean => reachability.isOnLoopback(socket);
    const hints = (socket: SocketId): MeetingHints => ({
      delayMs: this.#registration.delayMs,
      relay,
      share: this.#talks.share(socket),
    });
    outbox.onClosed = (socket) => reachability.forget(socket);
    this.#relay = relay;
    this.#reachability = reachability;
    this.#self = self;
    this.#isPolling = pollSeconds !== undefined;
    this.#requests = requests;
    this.#readings = readings;
    this.#questions = questions;
    this.#pins = pins;
    this.#channels = new SealedChannels({
      device: id,
      localKey,
      managerKey: options.managerAgreementKey,
      suite,
      rng,
      outbox,
    });
    this.#registration = new Registration({ name, pollSeconds, rng, outbox, requests });
    this.#resolution = new AddressResolution({
      self,
      rng,
      outbox,
      requests,
      pins,
      hints,
      isOnLoopback,
    });
    this.#answers = new AllowListAnswers({ ...asking, onOutcome, hints, isOnLoopback });
    this.#extension = extension;
    this.#ending = ending;
    this.#talks = new Talks({
      self,
      localKey,
      rng,
      config: options.connection,
      outbox,
      ending,
      extension,
      pins,
      traceOf: options.traceOf,
      requests,
      reachability,
      relay,
    });
    this.#polling = new Polling(outbox, pollSeconds);
  }

  /** @throws UsageError for a `call` that cannot be meant; nothing is changed then. */
  handle(now: Micros, input: TerminalInput): void {
    const at = this.#advance(now);
    this.#sort(at, input);
    this.#settle(at);
  }

  /**
   * `bytes` are borrowed until the call returns and may be decrypted in place. False: nothing has
   * changed, so there is nothing to drain, and the timer stays as it is.
   */
  handleDatagram(now: Micros, socket: SocketId, path: Path, bytes: Uint8Array): boolean {
    const at = this.#advance(now);
    const isTaken =
      this.#reachability.handleDatagram(at, socket, path, bytes) ||
      this.#talks.handleDatagram(at, socket, path, bytes);
    if (isTaken) this.#settle(at);
    return isTaken;
  }

  /** Early, late and repeated calls are harmless. */
  handleTimeout(now: Micros): void {
    const at = this.#advance(now);
    this.#channels.handleTimeout(at);
    this.#resolution.handleTimeout(at);
    this.#questions.handleTimeout(at);
    this.#answers.handleTimeout(at);
    this.#requests.handleTimeout(at);
    this.#reachability.handleTimeout(at);
    this.#talks.handleTimeout(at);
    if (this.#outbox.isEmpty()) this.#talks.sweep();
    this.#settle(at);
  }

  nextTimeout(): Micros {
    if (!this.#outbox.isEmpty()) return this.#now;
    let next = earlier(this.#talks.nextTimeout(this.#now), this.#requests.nextTimeout());
    next = earlier(next, this.#resolution.nextTimeout());
    next = earlier(next, this.#reachability.nextTimeout());
    next = earlier(next, this.#answers.nextTimeout());
    next = earlier(next, this.#questions.nextTimeout());
    next = earlier(next, this.#channels.nextTimeout());
    return earlier(next, this.#polling.nextTimeout());
  }

  poll(): TerminalOutput | undefined {
    if (this.#outbox.isEmpty()) this.#settle(this.#now);
    return this.#outbox.shift();
  }

  /** One datagram written to the start of `into`, or nothing may be sent now. */
  pollTransmit(now: Micros, into: Uint8Array): TalkTransmit | undefined {
    const at = this.#advance(now);
    return this.#reachability.pollTransmit(at, into) ?? this.#talks.pollTransmit(at, into);
  }

  /**
   * What a service reads from and writes to; drain afterwards. Still there when `ended` is told.
   */
  talk(session: SessionId): Talk | undefined {
    return this.#talks.talk(session);
  }

  /**
   * The owner's word about who is behind a name: this ID, or without one whoever was last refused
   * under it. Returns the ID that counts from now on; undefined: there is nobody to trust. Drain
   * afterwards.
   */
  trust(name: Name, id?: DeviceId): DeviceId | undefined {
    return this.#pins.trust(name, id);
  }

  /** The relays of talks that are over are given back at once. Drain afterwards. */
  leaveRelays(now: Micros): void {
    this.#talks.leaveRelays(this.#advance(now));
  }

  /** Whether a relay is being given back. */
  get isLeaving(): boolean {
    return this.#talks.isLeaving;
  }

  status(now: Micros): TerminalStatus {
    const at = this.#advance(now);
    const { wakeAt } = this.#polling;
    return {
      name: this.#self.name,
      id: this.#self.id,
      link: this.#isLinkUp ? 'up' : 'down',
      registered: this.#registration.isComplete,
      nextPollSeconds:
        wakeAt === NEVER ? undefined : Math.max(0, (wakeAt - at) / MICROS_PER_SECOND),
      calls: this.#resolution.status(),
      talks: this.#talks.status(at),
      changedPeers: this.#pins.changed(),
      ...(this.#registration.isComplete && { stun: this.#reachability.namedServers() }),
      endNotices: this.#ending.size,
      counters: this.#outbox.counters(),
    };
  }

  #advance(now: Micros): Micros {
    if (now > this.#now) this.#now = now;
    return this.#now;
  }

  /** After every change: what the connections say, and whether the link is still wanted. */
  #settle(now: Micros): void {
    this.#talks.collect(now);
    if (!this.#isPolling) return;
    this.#polling.update(now, {
      isRegistered:
        this.#registration.isComplete && this.#requests.size === 0 && !this.#channels.isWanted,
      isBusy:
        this.#resolution.size +
          this.#answers.openCount +
          this.#readings.size +
          this.#talks.size +
          this.#ending.size >
        0,
    });
  }

  #sort(now: Micros, input: TerminalInput): void {
    switch (input.kind) {
      case 'linkUp':
        this.#reachability.broker = input.server;
        if (this.#isLinkUp) return;
        this.#onLinkUp(now);
        return;
      case 'linkDown':
        this.#isLinkUp = false;
        this.#polling.onLinkDown();
        this.#channels.onLinkDown();
        this.#requests.onLinkDown();
        this.#registration.onLinkDown();
        this.#answers.onLinkDown();
        return;
      case 'message':
        this.#onBytes(now, input.via, input.bytes);
        return;
      case 'call':
        this.#resolution.call(now, input);
        return;
      case 'cancel':
        if (!this.#resolution.cancel(input.call)) this.#talks.endCall(now, input.call);
        return;
      case 'end':
        this.#talks.end(now, input.session, input.reason);
        return;
      case 'socketOpen':
        this.#onSocketOpen(now, input);
        return;
      case 'socketFailed':
        this.#onSocketFailed(now, input.socket);
        return;
      case 'gathered':
        this.#gather(now, input.socket, input);
        return;
      case 'networkChanged':
        this.#talks.onNetworkChanged(now);
        return;
      case 'list':
        if (!this.#readings.onList(now, input.ask, input.list, input.at)) this.#count();
        return;
      case 'ownerAnswer':
        if (!this.#questions.onAnswer(now, input.ask, input.approved)) this.#count();
        return;
      case 'restore':
        this.#pins.restore(input.pins);
        this.#ending.restore(now, input.records);
        return;
      default:
        input satisfies never;
    }
  }

  #onLinkUp(now: Micros): void {
    this.#isLinkUp = true;
    this.#requests.onLinkUp(now);
    this.#registration.onLinkUp(now, { isSealed: this.#channels.isOpen });
    this.#channels.onLinkUp(now);
    this.#answers.onLinkUp();
  }

  #onSocketOpen(now: Micros, input: Extract<TerminalInput, { kind: 'socketOpen' }>): void {
    const { socket, link } = input;
    if (link !== undefined) this.#talks.onLink(socket, link);
    // A socket that nobody wants any more was told to close before it was open.
    if (!this.#outbox.isWanted(socket)) return;
    if (this.#talks.onEndpointOpen(now, socket)) {
      if (input.candidates.length > 0) this.#gather(now, socket, input);
      return;
    }
    const isAsking = this.#ask(now, socket, input);
    // Who only wants to be met at a relay tells nobody where it is.
    const candidates = this.#relay === 'only' ? [] : input.candidates;
    if (this.#resolution.onSocketOpen(now, socket, candidates, isAsking)) return;
    this.#answers.onSocketOpen(now, socket, candidates, isAsking);
  }

  /** Asks where a socket can be reached; false if nobody can be asked, or may. */
  #ask(now: Micros, socket: SocketId, own: OwnAddresses): boolean {
    if (this.#relay === 'only') return false;
    const record = this.#resolution.recordOf(socket) ?? this.#answers.recordOf(socket);
    return this.#reachability.begin(now, socket, own, record);
  }

  /** The same of one that is asked about anew: where nobody answers, what the shell says is all. */
  #gather(now: Micros, socket: SocketId, own: OwnAddresses): void {
    if (this.#relay === 'only' || !this.#outbox.isWanted(socket)) return;
    if (this.#talks.isOver(socket)) return;
    if (this.#ask(now, socket, own)) {
      this.#resolution.onSocketOpen(now, socket, own.candidates, true);
      return;
    }
    const known = this.#reachability.of(socket);
    if (known !== undefined) this.#onGathered(now, socket, known);
  }

  #onGathered(now: Micros, socket: SocketId, gathered: Gathered): void {
    if (this.#resolution.onGathered(now, socket, gathered)) return;
    if (this.#answers.onGathered(now, socket, gathered)) return;
    this.#talks.onGathered(now, socket, gathered);
  }

  #onSocketFailed(now: Micros, socket: SocketId): void {
    if (this.#resolution.onSocketFailed(socket) || this.#answers.onSocketFailed(socket)) return;
    this.#talks.onSocketFailed(now, socket);
  }

  #onBytes(now: Micros, via: 'call' | 'down', bytes: Uint8Array): void {
    const message = decodeMessage(bytes);
    if (message === undefined) {
      this.#outbox.count('malformed');
    } else if (via === 'call') {
      this.#onBrokerMessage(now, message);
    } else {
      this.#onDown(now, message);
    }
  }

  /** What comes in the manager's name: only a seal proves it. */
  #onDown(now: Micros, message: Message): void {
    switch (message.kind) {
      case 'sealed': {
        const inner = this.#open(now, message);
        if (inner !== undefined) this.#onManagerMessage(now, inner);
        return;
      }
      case 'welcome':
        if (this.#channels.onWelcome(now, message)) this.#onChannel(now);
        return;
      case 'reseal':
        this.#channels.onReseal(now);
        return;
      case 'refusal':
        if (this.#channels.onRefusal(now, message)) return;
        this.#outbox.count('misplaced');
        return;
      default:
        this.#outbox.count('misplaced');
    }
  }

  /** A new channel: this terminal says in it who it is, then what was not answered. */
  #onChannel(now: Micros): void {
    this.#requests.onChannel();
    this.#registration.onChannel(now);
    this.#polling.onChannel(now);
  }

  /** Of what is sealed for a channel that is not ours the manager, or somebody, has to be told. */
  #open(now: Micros, sealed: MessageOf<'sealed'>): Message | undefined {
    const opened = this.#channels.open(sealed);
    if (opened === undefined) {
      this.#outbox.count('unopened');
      if (!this.#channels.has(sealed.channel)) this.#channels.onReseal(now);
      return undefined;
    }
    const inner = decodeMessage(opened);
    if (inner === undefined) this.#outbox.count('malformed');
    return inner;
  }

  /** Means 13 [S4002]: what the trigger broker hands over. */
  #onBrokerMessage(now: Micros, message: Message): void {
    switch (message.kind) {
      case 'call':
        this.#polling.onHanded();
        this.#onCall(now, message);
        return;
      case 'addressRecorded': {
        const isPending = this.#requests.settle(message.record);
        if (this.#registration.onAddressRecorded(message)) this.#onRegistered(now);
        else if (!isPending) this.#count();
        return;
      }
      case 'polled':
        this.#polling.onPolled(message);
        return;
      default:
        this.#outbox.count('misplaced');
    }
  }

  /** The broker hands over what it cannot read; only `reseal` comes without a seal. */
  #onCall(now: Micros, { payload, deadlineMs }: MessageOf<'call'>): void {
    const message = decodeMessage(payload);
    if (message?.kind === 'sealed') {
      const inner = this.#open(now, message);
      if (inner !== undefined) this.#onQuestion(now, inner, deadlineMs);
    } else if (message?.kind === 'reseal') {
      this.#channels.onReseal(now);
    } else {
      this.#outbox.count(message === undefined ? 'malformed' : 'misplaced');
    }
  }

  #onQuestion(now: Micros, inner: Message, deadlineMs: number): void {
    switch (inner.kind) {
      // The broker may say less, for what waited there, and never more.
      case 'ask':
        this.#answers.onAsk(now, inner, Math.min(deadlineMs, inner.waitMs));
        return;
      case 'askExtend': {
        const talk = this.#talks.find(inner.session);
        const leftMs = Math.min(deadlineMs, LIMITS.waitMsDefault);
        this.#extension.onAskExtend(now, inner, talk, leftMs);
        return;
      }
      case 'endRequest':
        // An end that is not acknowledged yet is on its way already.
        if (this.#talks.onEndRequest(now, inner) || this.#ending.has(inner.session)) return;
        this.#count();
        return;
      default:
        this.#outbox.count('misplaced');
    }
  }

  #onManagerMessage(now: Micros, message: Message): void {
    switch (message.kind) {
      case 'registered':
        this.#reachability.servers = message.stun ?? [];
        if (this.#registration.onRegistered(now, message)) this.#onRegistered(now);
        else this.#count();
        return;
      case 'refusal':
        this.#onRefusal(now, message);
        return;
      case 'addressNotice':
        this.#onNotice(now, message);
        return;
      case 'newExpiry': {
        const session = decodeExpiry(message.expiry)?.session;
        if (session !== undefined && this.#talks.onNewExpiry(now, session, message)) return;
        this.#count();
        return;
      }
      case 'ended':
        if (!this.#ending.onEnded(now, message)) this.#count();
        return;
      case 'candidatesTold':
        if (!this.#talks.onCandidatesTold(message)) this.#count();
        return;
      case 'peerCandidates':
        if (!this.#talks.onPeerCandidates(now, message)) this.#count();
        return;
      default:
        this.#outbox.count('misplaced');
    }
  }

  #onRegistered(now: Micros): void {
    if (!this.#registration.isComplete || this.#requests.isOpen) return;
    this.#resolution.onRegistered(now);
    this.#requests.onRegistered(now);
  }

  #onRefusal(now: Micros, message: MessageOf<'refusal'>): void {
    const isOurs =
      this.#resolution.onRefusal(message) ||
      this.#registration.onRefusal(now, message) ||
      this.#talks.onRefusal(message) ||
      this.#ending.onRefusal(now, message);
    if (!isOurs) this.#count();
  }

  /** [S1004, S4004]: a notice counts only if it answers what this boot asked or agreed to. */
  #onNotice(now: Micros, message: MessageOf<'addressNotice'>): void {
    if (this.#resolution.owns(message.request)) {
      const outcome = this.#resolution.onNotice(message);
      if (outcome !== undefined) this.#onOutcome(now, outcome);
    } else if (this.#answers.owns(message.request)) {
      this.#answers.onNotice(now, message);
    } else {
      this.#count();
    }
  }

  /** A talk begins, or a session that was granted for nothing is announced as ended. */
  #onOutcome(now: Micros, outcome: NoticeOutcome): void {
    const isNew = 'introduced' in outcome;
    const { session } = isNew ? outcome.introduced.grant : outcome.voided;
    // An old grant shown again neither begins its talk once more nor announces its end.
    if (this.#talks.find(session) !== undefined || this.#ending.has(session)) {
      this.#outbox.count('badNotice');
      if (isNew) this.#abandon(outcome.introduced);
    } else if (isNew) {
      this.#talks.begin(now, outcome.introduced);
    } else {
      this.#ending.announce(now, { session, reason: outcome.reason, counts: NO_COUNTS });
    }
  }

  #abandon({ socket, call }: Introduction): void {
    this.#outbox.closeSocket(socket);
    if (call !== undefined) this.#outbox.event({ kind: 'callFailed', call, why: 'bad-notice' });
  }

  #count(): void {
    this.#outbox.count('unexpected');
  }
}
