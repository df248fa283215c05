// The terminal's shell: drives the core `terminal.ts` between MQTT, UDP, files and the
// application. Every input is handed to the core and followed by a drain; one timer wakes it. Many
// agents live in one process (a fleet), so nothing here is shared between them but the buffers of
// datagrams. Long because the one drain loop serves every output of the core.

import { DATA_LIMITS } from '../protocol/data/limits.ts';
import { errorCode, errorMessage } from '../protocol/errors.ts';
import type { DeviceId, Name, SessionId } from '../protocol/ids.ts';
import { type CorrectedClock, WakeUp } from '../protocol/io/clock.ts';
import { entropy } from '../protocol/io/entropy.ts';
import { type Log, silentLog } from '../protocol/io/log.ts';
import type { TraceFolder } from '../protocol/io/trace-file.ts';
import { BufferPool } from '../protocol/io/udp.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { RelayPolicy } from '../protocol/address.ts';
import { MICROS_PER_MS, type Micros } from '../protocol/time.ts';
import { terminalName } from '../protocol/typed-names.ts';
import { type AgentParts, loadParts, terminalOf } from './shell/agent-parts.ts';
import type { AgentOptions, AgentStatus, Wish } from './shell/agent-types.ts';
import { callError } from './shell/call-error.ts';
import { Conditions } from './shell/conditions.ts';
import type { DiskTroubles } from './shell/disk-troubles.ts';
import type { EndsStore } from './shell/ends-store.ts';
import type { Home } from './shell/home.ts';
import { Incoming } from './shell/incoming.ts';
import { type ListReading, allowListReader } from './shell/list-reader.ts';
import { ListWatch } from './shell/list-watch.ts';
import { Login } from './shell/login.ts';
import { Owner } from './shell/owner.ts';
import { peerTrouble } from './shell/peer-trouble.ts';
import type { PinsStore } from './shell/pins-store.ts';
import { ReceiptStore } from './shell/receipt-store.ts';
import { ServerLink } from './shell/server-link.ts';
import { agentStatus } from './shell/service/report.ts';
import type { AgentHealth } from './shell/service/self-check.ts';
import { TalkRates } from './shell/service/talk-rates.ts';
import { Session, type SessionHost } from './shell/session.ts';
import { type NetworkChange, NetworkWatch } from './shell/network-watch.ts';
import { Sockets } from './shell/sockets.ts';
import { StunNames } from './shell/stun-names.ts';
import { TalkLog } from './shell/talk-log.ts';
import { WindowsStore } from './shell/windows-store.ts';
import { stillLets } from './own-list.ts';
import type {
  CallId,
  Pin,
  TerminalEvent,
  TerminalInput,
  TerminalOutput,
} from './terminal-types.ts';
import type { Terminal } from './terminal.ts';

export type { AgentOptions } from './shell/agent-types.ts';

/** Outputs and datagrams handled before other agents and the event loop get their turn. */
const STEPS_MAX = 512;
/** Milliseconds that `stop` gives to talks, and then to end notices. */
const STOP_MS_MAX = 2_000;
/** Milliseconds that it waits for relays that are given back. */
const LEAVE_MS_MAX = 1_000;
/** Of all agents here: each needs one only while it drains, and an idle one none. */
const POOL = new BufferPool(DATA_LIMITS.datagramBytesMax);

interface Calling {
  readonly wish: Wish;
  resolve(session: Session): void;
  reject(error: Error): void;
}

/** One running terminal. */
export class Agent {
  readonly home: Home;
  readonly name: Name;
  readonly id: DeviceId;
  /** Resolves when both servers know this terminal for the first time. */
  readonly registered: Promise<void>;
  readonly #log: Log;
  readonly #clock: CorrectedClock;
  readonly #terminal: Terminal;
  readonly #link: ServerLink;
  readonly #login: Login;
  readonly #readListFile: () => ListReading;
  readonly #windows: WindowsStore;
  readonly #watch: ListWatch;
  readonly #ends: EndsStore;
  readonly #pins: PinsStore;
  readonly #traces: TraceFolder | undefined;
  readonly #owner: Owner;
  readonly #receipts: ReceiptStore;
  readonly #sockets: Sockets;
  readonly #stun: StunNames;
  readonly #network: NetworkWatch;
  readonly #relay: RelayPolicy;
  readonly #talkLog: TalkLog;
  readonly #wake: WakeUp;
  readonly #sessions = new Map<SessionId, Session>();
  readonly #calls = new Map<CallId, Calling>();
  readonly #conditions = new Conditions();
  readonly #incoming = new Incoming();
  readonly #rates = new TalkRates();
  #onStanding: () => void = () => {};
  #onRegistered: () => void = () => {};
  /** The owner's list as it was last read. */
  #reading: ListReading;
  #nextCall = 1;
  #isDraining = false;
  #isStopped = false;
  readonly #disk: DiskTroubles;
  #listProblem: string | undefined;

  private constructor(options: AgentOptions, parts: AgentParts, windows: WindowsStore) {
    const { home, identity, enrolment, suite, clock, log } = parts;
    this.home = home;
    this.name = enrolment.name;
    this.id = identity.id;
    this.registered = new Promise((resolve) => {
      this.#onRegistered = resolve;
    });
    this.#log = log;
    this.#clock = clock;
    this.#relay = options.relay ?? 'if-needed';
    this.#terminal = terminalOf(parts, { ...options, relay: this.#relay });
    const { disk } = parts;
    this.#disk = disk;
    this.#login = new Login({ home, identity, enrolment, suite, rng: entropy, clock, log, disk });
    this.#readListFile = allowListReader(home.list, clock);
    this.#reading = this.#readListFile();
    this.#windows = windows;
    this.#watch = new ListWatch(home.list, () => this.#judgeAgain());
    this.#ends = parts.ends;
    this.#pins = parts.pins;
    this.#traces = parts.traces;
    this.#receipts = new ReceiptStore({
      path: home.receipt,
      suite,
      managerKey: enrolment.managerKey,
      log,
      disk,
    });
    this.#owner = new Owner({
      approvals: parts.approvals,
      clock,
      log,
      answer: (ask, approved) => this.#input({ kind: 'ownerAnswer', ask, approved }),
    });
    this.#wake = new WakeUp(clock, () => this.#onWake());
    this.#stun = new StunNames({ servers: options.stun ?? [], log });
    this.#network = new NetworkWatch({ onChange: (change) => this.#onNetwork(change) });
    this.#talkLog = new TalkLog(log);
    this.#sockets = new Sockets({
      pool: POOL,
      place: () => ({ literal: options.udpBind, link: this.#link.localAddress }),
      stun: () => this.#stun.paths(),
      onDatagram: (socket, path, bytes) => {
        if (this.#isStopped) return;
        const now = this.#clock.now();
        // What arrives in one turn of the event loop is answered together; rubbish not at all.
        if (this.#terminal.handleDatagram(now, socket, path, bytes)) this.#wake.arm(now);
      },
      onInput: (input) => {
        if (input.kind === 'socketFailed') this.#restIfIdle();
        this.#input(input);
      },
      onError: (error) => this.#talkLog.onUdpError(error),
    });
    this.#link = new ServerLink({
      id: this.id,
      url: options.brokerUrl ?? enrolment.brokerUrl,
      login: this.#login,
      log,
      keepaliveSeconds: options.keepaliveSeconds,
      onInput: (input) => {
        if (input.kind === 'linkUp') void this.#stun.refresh();
        this.#input(input);
      },
      onTrouble: () => this.#onStanding(),
    });
  }

  /**
   * Starts a terminal; it registers by itself as soon as the broker can be reached.
   * @throws NakodoError `already-running`, `not-enrolled`, `file-damaged`, `plain-not-loopback`,
   *   `bad-broker-url` …
   */
  static async start(options: AgentOptions): Promise<Agent> {
    const parts = await loadParts(options, options.log ?? silentLog);
    const { home, restore, log } = parts;
    const windows = await WindowsStore.load(home.windows, restore.records, log);
    const agent = new Agent(options, parts, windows);
    agent.#input(parts.restore);
    return agent;
  }

  /**
   * Asks for a talk with a peer [S1002, S1003] and waits until both ends have proven themselves.
   * @throws NakodoError `refused` (exit 3), `no-link`, `path-lost` (exit 5), `bad-name` …
   */
  async call(wish: Wish): Promise<Session> {
    const { service, signal } = wish;
    const to = terminalName(wish.to);
    if (this.#isStopped || signal?.aborted === true) throw callError('cancelled', wish);
    const call = this.#nextCall++;
    const cancel = (): void => this.#input({ kind: 'cancel', call });
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      const session = await new Promise<Session>((resolve, reject) => {
        this.#calls.set(call, { wish, resolve, reject });
        this.#input({
          kind: 'call',
          call,
          callee: to,
          service,
          want: wish.want ?? {},
          waitMs: wish.waitMs ?? LIMITS.waitMsDefault,
          extend: wish.extend ?? false,
        });
      });
      await session.established;
      session.handOver();
      return session;
    } finally {
      signal?.removeEventListener('abort', cancel);
      this.#calls.delete(call);
    }
  }

  /**
   * Sets who takes talks that others asked for, in place of loops over `sessions()`; `handler` says
   * at once who takes the streams (`session.on('stream', …)`).
   */
  onIncoming(handler: (session: Session) => void): void {
    this.#incoming.handler = handler;
  }

  /**
   * The talks that others ask for, until the agent stops. At most 16 wait for the loop, one more is
   * ended as `local`, as are those that wait when the loop is left. While nobody takes talks, the
   * owner's list still lets callers in; their streams are refused.
   */
  sessions(): AsyncIterableIterator<Session, undefined> {
    return this.#incoming.iterate();
  }

  /** A talk under way, or undefined. */
  session(id: SessionId): Session | undefined {
    return this.#sessions.get(id);
  }

  /** What `nakodo status` shows. */
  status(): AgentStatus {
    const now = this.#clock.now();
    const status = this.#terminal.status(now);
    const reading = this.#readListFile();
    const isKnown = (peer: Pin): boolean => this.#pins.isKnown(peer);
    return agentStatus(status, {
      reading,
      listPath: this.home.list,
      ratesOf: (talk) => this.#rates.of(now, talk),
      link: { ...this.#link.broker, health: this.#link.health() },
      relay: this.#relay,
      ownStun: this.#stun.servers,
      membershipExpiresAt: this.#login.expiresAt,
      clockOffsetMs: this.#clock.aheadMs,
      questions: this.#owner.questions(),
      troubles: {
        disk: this.#disk.words,
        list: this.#listProblem ?? this.#windows.problem,
        link: this.#link.trouble,
        peer: peerTrouble(status.changedPeers, { list: reading.list, isKnown }),
      },
    });
  }

  /** How this agent works, for whoever has to say that it does. */
  health(): Omit<AgentHealth, 'loopLateMs'> {
    const due = this.#terminal.nextTimeout();
    const coreLateMs = Math.max(0, (this.#clock.now() - due) / MICROS_PER_MS);
    return { coreLateMs, link: this.#link.health() };
  }

  /** Sets who is told when this terminal is registered, or cannot be for another reason. */
  onStanding(handler: () => void): void {
    this.#onStanding = handler;
  }

  /** The questions that wait for the owner's word (`nakodo approve`). */
  get owner(): Owner {
    return this.#owner;
  }

  /**
   * The owner accepts another key behind a name: this ID, or the one that was last refused.
   * Returns it; undefined if nobody was refused under this name.
   */
  trust(name: Name, id: DeviceId | undefined): DeviceId | undefined {
    const trusted = this.#terminal.trust(name, id);
    this.#drain();
    return trusted;
  }

  /** Ends every talk as `local`, gives the end notices a moment, and lets go of everything. */
  async stop(): Promise<void> {
    if (this.#isStopped) return;
    for (const session of this.#sessions.values()) session.finish('local');
    for (const call of this.#calls.keys()) this.#input({ kind: 'cancel', call });
    await this.#conditions.until(() => this.#sessions.size === 0, STOP_MS_MAX);
    if (this.#link.isUp) {
      const isReported = (): boolean => this.status().endNotices === 0;
      await this.#conditions.until(isReported, STOP_MS_MAX);
    }
    this.#terminal.leaveRelays(this.#clock.now());
    this.#drain();
    await this.#conditions.until(() => !this.#terminal.isLeaving, LEAVE_MS_MAX);
    this.#isStopped = true;
    this.#incoming.end();
    this.#watch.rest();
    this.#network.rest();
    this.#wake.stop();
    await this.#link.close();
    await this.#sockets.closeAll();
    await this.#ends.settled();
    await this.#owner.stop();
    await this.#windows.settled();
    await this.#pins.settled();
    await this.#receipts.settled();
    await this.#traces?.settled();
  }

  /** The link is looked at first: what talks find out about their ways is told over it. */
  #onNetwork(change: NetworkChange): void {
    if (this.#isStopped) return;
    this.#log.info('network-changed', { change });
    void this.#stun.refresh();
    this.#link.check('network');
    this.#input({ kind: 'networkChanged' });
  }

  /** An idle terminal looks at nothing. */
  #restIfIdle(): void {
    if (this.#sockets.isIdle) this.#network.rest();
  }

  #input(input: TerminalInput): void {
    if (this.#isStopped) return;
    this.#terminal.handle(this.#clock.now(), input);
    this.#drain();
  }

  #onWake(): void {
    if (this.#isStopped) return;
    this.#terminal.handleTimeout(this.#clock.now());
    this.#drain();
  }

  /** Empties the core. What is asked for meanwhile is emptied by the same loop. */
  #drain(): void {
    if (this.#isDraining || this.#isStopped) return;
    this.#isDraining = true;
    let wakeAt: Micros;
    try {
      wakeAt = this.#drainSteps();
    } finally {
      this.#isDraining = false;
    }
    this.#wake.arm(wakeAt);
    const now = this.#clock.now();
    this.#rates.note(now, () => this.#terminal.status(now).talks);
    this.#conditions.check();
  }

  #drainSteps(): Micros {
    for (let step = 0; step < STEPS_MAX; step++) {
      const output = this.#terminal.poll();
      if (output !== undefined) {
        this.#perform(output);
        continue;
      }
      const buffer = POOL.borrow();
      const transmit = this.#terminal.pollTransmit(this.#clock.now(), buffer);
      if (transmit === undefined) {
        POOL.release(buffer);
        return this.#terminal.nextTimeout();
      }
      this.#sockets.send(transmit.socket, transmit.path, transmit.size, buffer);
    }
    return this.#clock.now();
  }

  #perform(output: TerminalOutput): void {
    switch (output.kind) {
      case 'link':
        this.#link.want(output.want);
        break;
      case 'checkLink':
        this.#link.check(output.isElsewhere ? 'elsewhere' : 'silence');
        break;
      case 'publish':
        this.#link.publish(output);
        break;
      case 'openSocket':
        if (output.tcp === undefined) this.#sockets.open(output.socket, output.to);
        else this.#sockets.connect(output.socket, output.tcp);
        this.#network.watch();
        break;
      case 'gather':
        this.#sockets.gather(output.socket);
        break;
      case 'closeSocket':
        void this.#sockets.close(output.socket);
        this.#restIfIdle();
        break;
      case 'readList':
        this.#readList(output);
        break;
      case 'store':
        void this.#store(output);
        break;
      case 'membership':
        this.#login.keep(output);
        break;
      case 'askOwner':
        this.#owner.ask(output.question);
        break;
      case 'forgetOwner':
        this.#owner.forget(output.ask);
        break;
      case 'pin':
        this.#pins.keep(output.name, output.id);
        break;
      case 'receipt':
        this.#receipts.keep(output);
        break;
      case 'event':
        this.#onEvent(output.event);
        break;
    }
  }

  /** With what is left of the windows that a vendor has in it. */
  #readList({ ask, session }: TerminalOutput & { kind: 'readList' }): void {
    this.#reading = this.#readListFile();
    const { list, problem, at } = this.#reading;
    if (problem !== undefined) this.#log.warn('list-unreadable', { why: problem });
    this.#listProblem = problem;
    const left = list && this.#windows.adjusted(list, at, session);
    this.#input({ kind: 'list', ask, list: left, at });
  }

  /** The file is another one: who is let in no more is ended. An unreadable one ends nobody. */
  #judgeAgain(): void {
    const { list, problem, at } = this.#readListFile();
    this.#listProblem = problem;
    if (list === undefined) return;
    for (const session of this.#sessions.values()) {
      const { role, service, peer } = session.info;
      const ask = { callerName: peer.name, callerId: peer.id, service };
      if (role === 'caller' || session.wasFinished || stillLets(list, at, ask)) continue;
      this.#log.info('no-longer-allowed', { session: session.info.session, peer: peer.name });
      session.finish('local');
    }
  }

  async #store({ session, record }: TerminalOutput & { kind: 'store' }): Promise<void> {
    try {
      if (await this.#ends.keep(session, record)) this.#disk.written('ends');
    } catch (error) {
      this.#disk.failed('ends', error);
      this.#log.error('end-not-stored', { code: errorCode(error), why: errorMessage(error) });
    }
  }

  #onEvent(event: TerminalEvent): void {
    this.#talkLog.onEvent(event);
    switch (event.kind) {
      case 'registered':
        this.#log.info('registered', { name: event.name });
        this.#link.onRegistered();
        this.#onRegistered();
        this.#onStanding();
        break;
      case 'registerRefused':
        this.#link.onRegisterRefused(event.code);
        break;
      case 'peerChanged': {
        const { name: peer, role } = event;
        this.#log.warn('peer-changed', { peer, role, next: 'see nakodo status' });
        break;
      }
      case 'callFailed': {
        const calling = this.#calls.get(event.call);
        calling?.reject(callError(event.why, calling.wish, event.reason));
        break;
      }
      case 'introduced':
        this.#onIntroduced(event);
        break;
      case 'talk':
        this.#sessions.get(event.session)?.onTalkEvent(event.event);
        break;
      case 'extended':
        this.#windows.onExtended(event.session, event.bytes);
        this.#sessions.get(event.session)?.onTalkEvent(event);
        break;
      case 'extensionRefused':
        this.#sessions.get(event.session)?.onTalkEvent(event);
        break;
      case 'way':
        this.#sessions.get(event.session)?.onTalkEvent(event);
        break;
      case 'turnedAway':
      case 'listUnreadable':
      case 'reintroduced':
      case 'searching':
      case 'relayLost':
        // Only said in the log.
        break;
      case 'ended': {
        const { session, reason, counts, path, class: way } = event;
        const meeting = event.meeting && { ...event.meeting, policy: this.#relay };
        this.#windows.onEnded(session, counts);
        this.#sessions.get(session)?.onEnded({ reason, counts, path, way, meeting });
        this.#sessions.delete(session);
        if (this.#guests === 0) this.#watch.rest();
        break;
      }
    }
  }

  #onIntroduced(event: TerminalEvent & { kind: 'introduced' }): void {
    const { session: id, call, peer, service, terms } = event;
    const role = call === undefined ? 'callee' : 'caller';
    const session = new Session({ session: id, role, peer, service, ...terms }, this.#host);
    this.#sessions.set(id, session);
    this.#log.info('introduced', { session: id, role, peer: peer.name, service });
    session.hold();
    if (call === undefined) {
      const { list, at } = this.#reading;
      const guest = { session: id, callerName: peer.name, callerId: peer.id, service };
      if (list) this.#windows.onBegun(list, at, { ...guest, grantedBytes: terms.bytes });
      this.#watch.watch();
      this.#incoming.offer(session);
      return;
    }
    const calling = this.#calls.get(call);
    if (calling === undefined) {
      // Given up while the notice was on its way.
      session.finish('local');
      return;
    }
    calling.wish.onIntroduced?.(session);
    calling.resolve(session);
  }

  /** Talks that others asked for. */
  get #guests(): number {
    let guests = 0;
    for (const { info } of this.#sessions.values()) if (info.role === 'callee') guests += 1;
    return guests;
  }

  readonly #host: SessionHost = {
    talk: (session) => this.#terminal.talk(session),
    drain: () => this.#drain(),
    end: (session, reason) => this.#input({ kind: 'end', session, reason }),
    state: (session) => {
      const { talks } = this.#terminal.status(this.#clock.now());
      return talks.find((talk) => talk.session === session)?.talk;
    },
  };
}
