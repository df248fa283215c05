// One terminal in virtual time: the real core, and around it what its shell would be: the MQTT link
// (terminal-link.ts), its sockets (terminal-sockets.ts), the disk that survives a crash, the
// owner with the allow-list and an answer to every question. Over 400 lines: device/agent.ts and
// its shell in one piece, as nothing here waits for anything.

import type { RelayPolicy } from '../../protocol/address.ts';
import { topic } from '../../protocol/control/topics.ts';
import type { Path } from '../../protocol/core.ts';
import type { StreamId, Talk } from '../../protocol/data/connection-types.ts';
import { type Due, notArmed } from '../../protocol/deadlines.ts';
import {
  MEMBERSHIP_NONCE_BYTES,
  makeMembershipRequest,
  openMembershipResponse,
} from '../../protocol/identity/enrolment.ts';
import { openMembership } from '../../protocol/identity/membership.ts';
import { NO_PIN, TOKEN_NONCE_BYTES, makeToken } from '../../protocol/identity/token.ts';
import type { DeviceId, Name, SessionId } from '../../protocol/ids.ts';
import { type Rng, randomBytes, randomFraction } from '../../protocol/random.ts';
import { MS_PER_SECOND, after, micros, ms } from '../../protocol/time.ts';
import type {
  OwnerQuestion,
  TerminalEvent,
  TerminalInput,
  TerminalOutput,
  TerminalStatus,
} from '../../device/terminal-types.ts';
import { Terminal } from '../../device/terminal.ts';
import type { Attachment } from '../network/host.ts';
import type { Host } from '../network/internet.ts';
import type { World } from '../world.ts';
import type { Identity } from './identity.ts';
import type { PartyClock } from './party-clock.ts';
import { type BusConnection, type BusUser, CONNACK } from './virtual-broker.ts';
import { TerminalDisk } from './terminal-disk.ts';
import { TerminalLink } from './terminal-link.ts';
import { TerminalSockets } from './terminal-sockets.ts';
import { ENROL_URL } from './virtual-manager.ts';

const OUTPUTS_MAX = 100_000;
const HTTP_MS = 5;
/** How often the shell compares addresses and routes while a socket is open. */
const NOTICED_MS = 1_000;
const OWNER_MS = 80;
const FORWARDED_SHARE = 0.25;

/** Hears what the core tells, and may use the terminal at once. */
export interface Application {
  onEvent(terminal: VirtualTerminal, event: TerminalEvent): void;
}

/** One terminal, on or off. */
export class VirtualTerminal implements BusUser {
  readonly party: VirtualTerminal = this;
  readonly username = 'terminal';
  readonly identity: Identity;
  readonly index: number;
  readonly host: Host;
  readonly clock: PartyClock;
  readonly pollSeconds: number | undefined;
  readonly isClone: boolean;
  /** A router before it forwards its sockets. */
  readonly isForwarded: boolean;
  readonly relay: RelayPolicy;
  readonly subscriptions: readonly string[];
  readonly due: Due & { run(): void } = { ...notArmed(), run: () => this.#onTime() };
  application: Application = { onEvent: () => {} };
  boots = 0;
  isRevoked = false;
  /** Since the faults are over: one that sleeps has come back at least once. */
  hasRegistered = false;
  /** Told that it is a clone: stays away until it is started again. */
  isBanned = false;
  isSuspended = false;
  readonly #world: World;
  readonly #rng: Rng;
  readonly #sockets: TerminalSockets;
  readonly #disk: TerminalDisk;
  #membership: Uint8Array = new Uint8Array(0);
  #core: Terminal | undefined;
  readonly #link: TerminalLink;
  #calls = 0;
  /** What the machine hears of when it wakes up. */
  #postponed: (() => void)[] = [];

  constructor(
    world: World,
    options: {
      readonly identity: Identity;
      readonly index: number;
      readonly host: Host;
      readonly clock: PartyClock;
      readonly pollSeconds?: number | undefined;
      readonly isClone?: boolean;
    },
  ) {
    const { identity, index, host, clock, pollSeconds, isClone = false } = options;
    this.#world = world;
    this.identity = identity;
    this.index = index;
    this.host = host;
    this.clock = clock;
    this.pollSeconds = pollSeconds;
    this.isClone = isClone;
    // Two clones of one terminal are two machines: what one draws the other never does.
    const label = `terminal/${identity.name}${isClone ? `/clone${index}` : ''}`;
    this.#rng = world.rng(label);
    const faults = world.rng(`${label}/faults`);
    this.isForwarded = host.nats.length > 0 && randomFraction(faults) < FORWARDED_SHARE;
    const isShy = randomFraction(world.rng(`${label}/relay`)) < world.options['relay.only'];
    this.relay = isShy ? 'only' : 'if-needed';
    this.#sockets = new TerminalSockets(world, this);
    this.#disk = new TerminalDisk(world, faults);
    this.#link = new TerminalLink(world, this, this.#rng);
    this.subscriptions = [topic('call', identity.id), topic('down', identity.id)];
    host.onDatagram = (to, from, bytes) => this.receive(to, from, bytes);
  }

  get name(): Name {
    return this.identity.name;
  }
  get id(): DeviceId {
    return this.identity.id;
  }
  get clientId(): string {
    return this.identity.id;
  }
  /** Undefined while it is off. */
  get core(): Terminal | undefined {
    return this.#core;
  }
  get isLinked(): boolean {
    return this.#link.isUp;
  }
  get connection(): BusConnection | undefined {
    return this.#link.connection;
  }
  /** Its open sockets, as it knows them. */
  get sockets(): readonly Path[] {
    return this.#sockets.paths;
  }
  /** Everything on its disk that is text or bytes. */
  get membership(): Uint8Array {
    return this.#membership;
  }

  // --- the machine -------------------------------------------------------------------------------

  /** From now on its home holds this; before its first start. */
  enrol(membership: Uint8Array): void {
    this.#disk.membership(membership, true);
  }

  /** Its process begins: the disk is read, the link opened. */
  start(): void {
    if (this.#core !== undefined) return;
    const { signingKey, localKey, suite, id, name } = this.identity;
    const { signing, agreement } = this.#world.manager.keys;
    this.boots += 1;
    this.isBanned = false;
    const { membership, records, pins } = this.#disk.read();
    this.#membership = membership ?? new Uint8Array(0);
    this.#core = new Terminal({
      id,
      name,
      managerKey: signing.publicKey,
      managerAgreementKey: agreement.publicKey,
      signingKey,
      localKey,
      suite,
      rng: this.#rng,
      pollSeconds: this.pollSeconds,
      connection: this.#world.connection,
      relay: this.relay,
      ...(this.#world.hearsTraces && {
        traceOf: (session: SessionId) => (event) =>
          this.#world.happen({ kind: 'trace', terminal: this, session, event }),
      }),
    });
    this.#world.happen({ kind: 'started', terminal: this });
    this.input({ kind: 'restore', records, pins });
    this.#link.begin();
  }

  /** Its process is killed: sockets and link are gone, the disk has what had reached it. */
  kill(): void {
    if (this.#core === undefined) return;
    if (this.isSuspended) this.clock.go(this.#world.now, 0);
    this.#core = undefined;
    this.isSuspended = false;
    this.#postponed = [];
    this.#sockets.closeAll();
    this.#link.drop();
    this.#disk.crash();
    this.#world.arm(this.due, micros(Infinity));
    this.#world.happen({ kind: 'killed', terminal: this });
  }

  /** The machine sleeps: nothing is heard, nobody is told. */
  suspend(): void {
    if (this.#core === undefined || this.isSuspended) return;
    this.isSuspended = true;
    this.clock.stop(this.#world.now);
    const { connection } = this.#link;
    if (connection !== undefined) this.#world.broker.die(connection);
    this.#world.arm(this.due, micros(Infinity));
    this.#world.happen({ kind: 'suspended', terminal: this });
  }

  /** `counted`: microseconds by which its monotonic clock went on. */
  resume(counted: number): void {
    if (!this.isSuspended) return;
    this.isSuspended = false;
    this.clock.go(this.#world.now, counted);
    this.#world.happen({ kind: 'resumed', terminal: this });
    this.#world.touch(this);
    for (const run of this.#postponed.splice(0)) run();
  }

  /**
   * Its machine joins another network: what is on its way to the old address goes astray, its link
   * is dead. `isTold`: the shell notices within a second, and asks its link whether it still works
   * (`check` of protocol/io/mqtt-link.ts: an address that is gone needs no asking); else the
   * terminal finds out by silence.
   */
  move(to: string | Attachment, isTold: boolean): void {
    this.host.move(to);
    this.#sockets.onMoved();
    const { connection } = this.#link;
    if (connection !== undefined) this.#world.broker.die(connection);
    if (!isTold) return;
    const core = this.#core;
    this.#world.schedule(after(this.#world.now, ms(NOTICED_MS)), () => {
      if (this.#core !== core || this.isSuspended) return;
      this.#link.renew();
      this.input({ kind: 'networkChanged' });
    });
  }

  // --- its user and its applications -------------------------------------------------------------

  /** Asks for a talk; the number of the call, or undefined while it is off. */
  call(wish: {
    readonly callee: Name;
    readonly service: string;
    readonly want: { readonly seconds?: number; readonly bytes?: number };
    readonly waitMs: number;
    readonly extend: boolean;
  }): number | undefined {
    if (this.#core === undefined || this.isSuspended) return undefined;
    const call = ++this.#calls;
    const isPermitted = this.#world.isPermitted(this, wish.callee, wish.service);
    this.#world.happen({ kind: 'called', terminal: this, call, isPermitted, ...wish });
    this.input({ kind: 'call', call, ...wish });
    return call;
  }

  end(session: SessionId, reason: 'done' | 'local'): void {
    this.#world.happen({ kind: 'endAsked', terminal: this, session, reason });
    this.input({ kind: 'end', session, reason });
  }

  talk(session: SessionId): Talk | undefined {
    return this.#core?.talk(session);
  }

  /** Puts bytes into a stream; how many it took. */
  write(session: SessionId, stream: StreamId, bytes: Uint8Array): number {
    const taken = this.talk(session)?.write(stream, bytes) ?? 0;
    if (taken > 0) {
      const wrote = taken === bytes.length ? bytes : bytes.subarray(0, taken);
      this.#world.happen({ kind: 'wrote', terminal: this, session, stream, bytes: wrote });
      this.#world.touch(this);
    }
    return taken;
  }

  finish(session: SessionId, stream: StreamId): void {
    this.talk(session)?.finish(stream);
    this.#world.happen({ kind: 'finished', terminal: this, session, stream });
    this.#world.touch(this);
  }

  /** Reads what is there into `into`; bytes, 0, or -1 at the stream's end. */
  read(session: SessionId, stream: StreamId, into: Uint8Array): number {
    const count = this.talk(session)?.read(stream, into) ?? 0;
    if (count > 0) {
      const bytes = into.subarray(0, count);
      this.#world.happen({ kind: 'read', terminal: this, session, stream, bytes });
    } else if (count < 0) {
      this.#world.happen({ kind: 'readEnd', terminal: this, session, stream });
    }
    this.#world.touch(this);
    return count;
  }

  openStream(session: SessionId): StreamId | undefined {
    this.#world.touch(this);
    return this.talk(session)?.openStream();
  }

  setWeight(session: SessionId, stream: StreamId, weight: number): void {
    this.talk(session)?.setWeight(stream, weight);
  }

  /** Nothing more is written, and what was not delivered is given up. */
  reset(session: SessionId, stream: StreamId, code: number): void {
    this.#world.happen({ kind: 'resetSent', terminal: this, session, stream });
    this.talk(session)?.reset(stream, code);
    this.#world.touch(this);
  }

  /** Nothing more is read. */
  stop(session: SessionId, stream: StreamId, code: number): void {
    this.#world.happen({ kind: 'stopSent', terminal: this, session, stream });
    this.talk(session)?.stop(stream, code);
    this.#world.touch(this);
  }

  sendMessage(session: SessionId, bytes: Uint8Array): boolean {
    const isTaken = this.talk(session)?.sendDatagram(bytes) ?? false;
    if (isTaken) this.#world.happen({ kind: 'messageSent', terminal: this, session, bytes });
    this.#world.touch(this);
    return isTaken;
  }

  readMessage(session: SessionId): Uint8Array | undefined {
    const bytes = this.talk(session)?.readDatagram();
    if (bytes !== undefined)
      this.#world.happen({ kind: 'messageRead', terminal: this, session, bytes });
    return bytes;
  }

  /** What `nakodo status` would show, by its own clock; undefined while it is off. */
  status(): TerminalStatus | undefined {
    return this.#core?.status(this.clock.local(this.#world.now));
  }

  /** Says something on a topic of its own; nothing without a link. */
  publish(of: 'address' | 'up' | 'allow-list', bytes: Uint8Array): void {
    const { connection, isUp } = this.#link;
    if (connection !== undefined && isUp)
      this.#world.broker.publish(connection, topic(of, this.id), bytes);
  }

  // --- the core ----------------------------------------------------------------------------------

  input(input: TerminalInput): void {
    if (this.#core === undefined) return;
    this.#core.handle(this.clock.local(this.#world.now), input);
    this.#world.touch(this);
  }

  /** Carries out everything that the core wants, and sets its one timer. */
  settle(): void {
    if (this.isSuspended) return;
    for (let count = 0; count < OUTPUTS_MAX; count++) {
      const core = this.#core;
      if (core === undefined) return;
      const output = core.poll();
      if (output !== undefined) this.#perform(output);
      else if (!this.#sendDatagram(core)) {
        this.#world.arm(this.due, this.clock.world(core.nextTimeout()));
        return;
      }
    }
    this.#world.violate('outputs', `${this.name} does not come to rest`);
  }

  #onTime(): void {
    if (this.isSuspended) return;
    this.#core?.handleTimeout(this.clock.local(this.#world.now));
    this.#world.touch(this);
  }

  #sendDatagram(core: Terminal): boolean {
    const buffer = this.#world.datagramBuffer;
    const transmit = core.pollTransmit(this.clock.local(this.#world.now), buffer);
    if (transmit === undefined) return false;
    this.#sockets.send(transmit.socket, transmit.path, buffer.subarray(0, transmit.size));
    return true;
  }

  /** Something came to one of its sockets. */
  receive(to: Path, from: Path, bytes: Uint8Array): void {
    const socket = this.#sockets.idOf(to);
    if (socket === undefined || this.#core === undefined || this.isSuspended) return;
    this.#sockets.tell('Received', to, from, bytes);
    this.#core.handleDatagram(this.clock.local(this.#world.now), socket, from, bytes);
    this.#world.touch(this);
  }

  #perform(output: TerminalOutput): void {
    const world = this.#world;
    switch (output.kind) {
      case 'link':
        return this.#want(output.want === 'up');
      case 'checkLink':
        return this.#link.check();
      case 'publish':
        return this.publish(output.topic, output.bytes);
      case 'openSocket': {
        const { socket, to, tcp } = output;
        if (tcp === undefined) this.#sockets.open(socket, to);
        else this.#sockets.connect(socket, tcp);
        return;
      }
      case 'gather':
        return this.#sockets.gather(output.socket);
      case 'closeSocket':
        return this.#sockets.close(output.socket);
      case 'readList':
        return this.#readList(output.ask);
      case 'store': {
        const { session, record } = output;
        world.happen({ kind: 'stored', terminal: this, session, record });
        return this.#disk.store(session, record);
      }
      case 'pin':
        return this.#disk.pin(output.name, output.id);
      case 'membership':
        return this.#keepMembership(output.bytes, output.time, output.tookMs);
      case 'receipt':
        return this.#disk.receipt(output.bytes);
      case 'askOwner':
        return this.#askOwner(output.question);
      case 'forgetOwner':
        return;
      case 'event':
        world.happen({ kind: 'event', terminal: this, event: output.event });
        if (output.event.kind === 'registered') this.hasRegistered = true;
        if (output.event.kind === 'registerRefused') this.#onRefused(output.event.code);
        return this.application.onEvent(this, output.event);
      default:
        output satisfies never;
    }
  }

  #readList(ask: number): void {
    const isReadable = !this.#disk.strikes('list.torn');
    this.#world.happen({ kind: 'listRead', terminal: this, isReadable });
    const list = isReadable ? this.#world.permissions.listOf(this.identity.name) : undefined;
    const at = { wallMs: this.clock.wall(this.#world.now), offsetMinutes: 540 };
    this.input({ kind: 'list', ask, list, at });
  }

  #askOwner(question: OwnerQuestion): void {
    const world = this.#world;
    world.happen({ kind: 'ownerAsked', terminal: this, question });
    const core = this.#core;
    world.schedule(after(world.now, ms(OWNER_MS)), () => {
      if (this.#core !== core || this.isSuspended) return;
      const approved = world.permissions.ownerSays(this.name, question.caller.name);
      world.happen({ kind: 'ownerAnswered', terminal: this, question, approved });
      this.input({ kind: 'ownerAnswer', ask: question.ask, approved });
    });
  }

  // --- its MQTT link: what it says there, and hears ---

  password(): Uint8Array {
    return makeToken(this.identity.signingKey, {
      device: this.id,
      audience: this.#world.manager.keys.signing.publicKey,
      issuedAt: Math.floor(this.clock.wall(this.#world.now) / MS_PER_SECOND),
      nonce: randomBytes(this.#rng, TOKEN_NONCE_BYTES),
      membership: this.#membership,
      server: NO_PIN,
    });
  }

  onUp(): void {
    this.#link.onUp();
    this.input({ kind: 'linkUp', server: this.#world.broker.stun.addressFor(this.host) });
  }

  onDown(code: number | undefined): void {
    if (this.isSuspended) {
      this.postpone(() => this.onDown(code));
      return;
    }
    const wasUp = this.#link.isUp;
    this.#link.onDown(code);
    if (code === CONNACK.notLetIn) this.#renew();
    if (wasUp) this.input({ kind: 'linkDown' });
  }

  /** Does it when the machine wakes up. */
  postpone(run: () => void): void {
    this.#postponed.push(run);
  }

  onMessage(name: string, bytes: Uint8Array): void {
    if (this.isSuspended) return;
    const via = name === this.subscriptions[0] ? 'call' : 'down';
    this.input({ kind: 'message', via, bytes: bytes.slice() });
  }

  #want(isWanted: boolean): void {
    if (isWanted && this.isBanned) return;
    this.#link.want(isWanted);
    if (!isWanted) this.input({ kind: 'linkDown' });
  }

  /** A clone would throw out the one that may stay. */
  #onRefused(code: string): void {
    if (code !== 'cloned') return;
    this.isBanned = true;
    this.#want(false);
    if (this.#world.isFaulty) return;
    // Its owner has found the other one, and starts this one again.
    this.#inAMoment(() => {
      this.kill();
      this.start();
    });
  }

  /** The broker did not believe us: a new membership, and the time (device/shell/login.ts). */
  #renew(): void {
    const { manager } = this.#world;
    const world = this.#world;
    const { keys, signingKey, suite } = this.identity;
    const nonce = randomBytes(this.#rng, MEMBERSHIP_NONCE_BYTES);
    const begun = this.clock.local(world.now);
    const core = this.#core;
    const body = makeMembershipRequest(signingKey, { url: ENROL_URL, keys, nonce });
    this.#inAMoment(() =>
      manager.post(body, (reply) =>
        this.#inAMoment(() => {
          if (reply.kind !== 'membership' || this.#core !== core) return;
          const managerKey = manager.keys.signing.publicKey;
          const bytes = openMembershipResponse(suite, reply.bytes, { managerKey, nonce });
          const issued = bytes && openMembership(suite, managerKey, bytes)?.issuedAt;
          if (bytes === undefined || issued === undefined) return;
          const tookMs = (this.clock.local(world.now) - begun) / 1_000;
          this.#keepMembership(bytes, issued * MS_PER_SECOND, tookMs + MS_PER_SECOND);
        }),
      ),
    );
  }

  #inAMoment(run: () => void): void {
    this.#world.schedule(after(this.#world.now, ms(HTTP_MS)), run);
  }

  #keepMembership(bytes: Uint8Array, unixMs: number, withinMs: number): void {
    const { now } = this.#world;
    this.clock.correct(now, unixMs, withinMs);
    const managerKey = this.#world.manager.keys.signing.publicKey;
    if (openMembership(this.identity.suite, managerKey, bytes)?.device !== this.id) return;
    this.#membership = bytes;
    this.#disk.membership(bytes);
  }
}
