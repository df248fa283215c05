// Long because it stands for everything around a terminal: its shell, the wire, both servers.
// Terminals in virtual time, wired through a double of the two servers' messages and a wire without
// loss. The real servers have tests of their own; here only what a terminal says and hears counts.

import { type AllowEntry, grantFor } from '../../protocol/consent/allow-list.ts';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { Candidate, Message, MessageOf, Terms } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import type { SigningKey } from '../../protocol/crypto.ts';
import { type Grant, encodeExpiry, encodeGrant } from '../../protocol/grant.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import { signed } from '../../protocol/identity/signed.ts';
import type { Name, RecordId } from '../../protocol/ids.ts';
import { randomRequestId, randomSessionId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { randomBytes, seededRng } from '../../protocol/random.ts';
import { type Micros, NEVER, after, micros, wallMs } from '../../protocol/time.ts';
import type { OwnerQuestion, TerminalOutput } from '../terminal-types.ts';
import { Terminal } from '../terminal.ts';
import { type Consent, askOf, checkExtension, consentOf, judged } from './manager-consent.ts';
import { ManagerSeal } from './manager-seal.ts';
import type { Node, Session } from './world-types.ts';

const STEPS_MAX = 200_000;
const WIRE_MICROS = 200;
export const AT = { wallMs: wallMs(1_700_000_000_000), offsetMinutes: 0 };

/** Time, wire, servers. */
export class World {
  now: Micros = micros(1);
  readonly rng = seededRng(7);
  readonly manager: SigningKey = nodeSuite.signingKey(randomBytes(this.rng, 32));
  readonly seal = new ManagerSeal(this.rng);
  readonly nodes: Node[] = [];
  readonly sessions: Session[] = [];
  readonly notices: MessageOf<'endNotice'>[] = [];
  /** What the servers do; a test replaces some of it. */
  answers = {
    address: true,
    hello: true,
    register: true,
    connect: true,
    ended: true,
    extend: true,
    polled: true,
  };
  /** Changes a notice before it leaves; undefined: it does not leave. */
  alter: (to: Node, notice: MessageOf<'addressNotice'>) => MessageOf<'addressNotice'> | undefined =
    (_, notice) => notice;
  /** Whether the shell answers `readList`. */
  readsLists = true;
  /** The owner's word, given at once; undefined: the question waits. */
  approves: (question: OwnerQuestion) => boolean | undefined = () => undefined;
  /** Whether the shell can open sockets. */
  opensSockets = true;
  /** The newest notice that left for a terminal. */
  readonly lastNotice = new Map<Node, MessageOf<'addressNotice'>>();
  /** Every datagram that was on the wire. */
  readonly wireBytes: Uint8Array[] = [];
  /** Whether notices carry the other end's key share, as the real manager's do. */
  sharesKeys = false;
  /** Hears what leaves; false: it is lost. */
  onWire: (to: Path, from: Path, bytes: Uint8Array) => boolean = () => true;
  readonly #records = new Map<RecordId, readonly Candidate[]>();
  /** Queries that wait for a record, as at the broker. */
  #queries: { wanted: readonly RecordId[]; notify: () => void }[] = [];
  readonly #asked = new Map<string, { caller: Node; connect: MessageOf<'connect'> }>();
  /** A request is handled once, however often it comes. */
  readonly #seen = new Set<string>();
  readonly #extending = new Map<string, { node: Node; extend: MessageOf<'extend'> }>();
  #wire: { at: Micros; to: Path; from: Path; bytes: Uint8Array }[] = [];
  #port = 1_000;

  add(
    name: string,
    options: { list?: readonly AllowEntry[]; mode?: 'verdict' | 'list'; pollSeconds?: number } = {},
  ): Node {
    const { list, mode = 'verdict', pollSeconds } = options;
    const signing = nodeSuite.signingKey(randomBytes(this.rng, 32));
    const localKey = nodeSuite.dhKey(randomBytes(this.rng, 32));
    const keys = { ed25519: signing.publicKey, x25519: localKey.publicKey };
    const id = deviceIdOf(nodeSuite, keys);
    const make = (): Terminal =>
      new Terminal({
        id,
        name: name as Name,
        managerKey: this.manager.publicKey,
        managerAgreementKey: this.seal.key.publicKey,
        signingKey: signing,
        localKey,
        suite: nodeSuite,
        rng: this.rng,
        pollSeconds,
      });
    const node: Node = {
      name: name as Name,
      id,
      keys,
      signing,
      terminal: make(),
      list: list && { version: 'v1', mode, entries: list },
      isLinkUp: false,
      followsLink: pollSeconds !== undefined,
      outputs: [],
      events: [],
      sent: [],
      wire: [],
      sockets: new Map(),
      stored: new Map(),
      pins: new Map(),
      make,
    };
    this.nodes.push(node);
    if (!node.followsLink) this.link(node, true);
    this.settle();
    // A terminal that polls stays for a moment after its first channel, then sleeps.
    if (node.followsLink) this.run(LIMITS.resealStayMs / 1_000);
    return node;
  }

  link(node: Node, isUp: boolean): void {
    if (node.isLinkUp === isUp) return;
    node.isLinkUp = isUp;
    node.terminal.handle(this.now, { kind: isUp ? 'linkUp' : 'linkDown' });
  }

  call(
    node: Node,
    callee: string,
    options: {
      call?: number;
      want?: Terms;
      waitMs?: number;
      extend?: boolean;
      service?: string;
    } = {},
  ): void {
    const { call = 1, want = {}, waitMs = 5_000, extend = false, service = 'pipe' } = options;
    node.terminal.handle(this.now, {
      kind: 'call',
      call,
      callee: callee as Name,
      service,
      want,
      waitMs,
      extend,
    });
    this.settle();
  }

  /** Ends the process without a word and starts it anew with what lies on disk. */
  restart(node: Node): void {
    node.terminal = node.make();
    node.sockets.clear();
    node.isLinkUp = false;
    const pins = [...node.pins].map(([name, id]) => ({ name, id }));
    const records = [...node.stored.values()];
    node.terminal.handle(this.now, { kind: 'restore', records, pins });
    this.settle();
  }

  /** A message straight to a terminal: the broker's as it is, the manager's sealed. */
  tell(node: Node, via: 'call' | 'down', message: Message): void {
    const encoded = encodeMessage(message);
    const bytes = via === 'call' ? encoded : this.seal.seal(node, encoded);
    if (bytes !== undefined) this.tellBytes(node, via, bytes);
  }

  /** Bytes as they are, on one of a terminal's topics. */
  tellBytes(node: Node, via: 'call' | 'down', bytes: Uint8Array): void {
    if (node.isLinkUp) node.terminal.handle(this.now, { kind: 'message', via, bytes });
  }

  /**
   * A communication request, sealed, wrapped as the broker hands it over; a terminal without a
   * channel is only told to make one.
   */
  hand(node: Node, payload: Message, deadlineMs = 5_000): void {
    if (payload.kind === 'ask' || payload.kind === 'askExtend')
      this.#open.set(payload.request, { to: node, payload });
    const reseal = { kind: 'reseal', request: randomRequestId(this.rng) } as const;
    const sealed = this.seal.seal(node, encodeMessage(payload));
    this.handBytes(node, sealed ?? encodeMessage(reseal), deadlineMs);
  }

  /** A payload as it is, wrapped as the broker hands it over. */
  handBytes(node: Node, payload: Uint8Array, deadlineMs = 5_000): void {
    const request = randomRequestId(this.rng);
    this.tell(node, 'call', { kind: 'call', request, deadlineMs, payload });
  }

  /** Everything that happens without time passing. */
  settle(): void {
    for (let step = 0; step < STEPS_MAX; step++) {
      if (!this.nodes.some((node) => this.#drain(node))) return;
    }
    throw new Error('the world does not come to rest');
  }

  /** Lets time pass until a condition holds; false if it did not within so many seconds. */
  run(secondsMax: number, until: () => boolean = () => false): boolean {
    const end = after(this.now, secondsMax * 1e6);
    for (let step = 0; step < STEPS_MAX; step++) {
      this.settle();
      if (until()) return true;
      // What it has read makes room at the other end.
      this.settle();
      const next = Math.min(
        ...this.#wire.map(({ at }) => at),
        ...this.nodes.map((node) => node.terminal.nextTimeout()),
        NEVER,
      );
      if (next > end) {
        this.now = end;
        return until();
      }
      if (next > this.now) this.now = micros(next);
      this.#deliver();
      for (const { terminal } of this.nodes)
        if (terminal.nextTimeout() <= this.now) terminal.handleTimeout(this.now);
    }
    throw new Error('time does not pass');
  }

  /** A datagram that arrives in so many microseconds, from wherever somebody says. */
  fly(to: Path, from: Path, bytes: Uint8Array, delayMicros = WIRE_MICROS): void {
    this.#wire.push({ at: after(this.now, delayMicros), to, from, bytes: bytes.slice() });
  }

  #deliver(): void {
    const due = this.#wire.filter(({ at }) => at <= this.now);
    this.#wire = this.#wire.filter(({ at }) => at > this.now);
    for (const { to, from, bytes } of due) {
      for (const { terminal, sockets } of this.nodes) {
        for (const [socket, path] of sockets) {
          if (path.port === to.port) terminal.handleDatagram(this.now, socket, from, bytes);
        }
      }
    }
  }

  #drain(node: Node): boolean {
    const output = node.terminal.poll();
    if (output !== undefined) {
      node.outputs.push(output);
      this.#onOutput(node, output);
      return true;
    }
    const buffer = new Uint8Array(65_536);
    const transmit = node.terminal.pollTransmit(this.now, buffer);
    if (transmit === undefined) return false;
    const from = node.sockets.get(transmit.socket);
    if (from !== undefined) {
      const bytes = buffer.slice(0, transmit.size);
      this.wireBytes.push(bytes.slice());
      if (!this.onWire(transmit.path, from, bytes)) return true;
      this.#wire.push({ at: after(this.now, WIRE_MICROS), to: transmit.path, from, bytes });
    }
    return true;
  }

  #onOutput(node: Node, output: TerminalOutput): void {
    switch (output.kind) {
      case 'event':
        node.events.push(output.event);
        return;
      case 'link':
        this.link(node, output.want === 'up');
        return;
      case 'openSocket': {
        if (!this.opensSockets) {
          node.terminal.handle(this.now, {
            kind: 'socketFailed',
            socket: output.socket,
            code: 'x',
          });
          return;
        }
        const path = { host: '192.0.2.1', port: (this.#port += 1) };
        node.sockets.set(output.socket, path);
        const candidates = [
          { address: Uint8Array.of(192, 0, 2, 1), port: path.port, type: 'host' as const },
        ];
        node.terminal.handle(this.now, { kind: 'socketOpen', socket: output.socket, candidates });
        return;
      }
      case 'closeSocket':
        node.sockets.delete(output.socket);
        return;
      case 'readList':
        if (this.readsLists)
          node.terminal.handle(this.now, {
            kind: 'list',
            ask: output.ask,
            list: node.list,
            at: AT,
          });
        return;
      case 'store':
        if (output.record === undefined) node.stored.delete(output.session);
        else node.stored.set(output.session, output.record);
        return;
      case 'pin':
        if (output.id === undefined) node.pins.delete(output.name);
        else node.pins.set(output.name, output.id);
        return;
      case 'askOwner': {
        const approved = this.approves(output.question);
        const { ask } = output.question;
        if (approved !== undefined)
          node.terminal.handle(this.now, { kind: 'ownerAnswer', ask, approved });
        return;
      }
      case 'publish': {
        const message = decodeMessage(output.bytes);
        if (message === undefined) throw new Error('a terminal publishes only messages');
        node.wire.push(output.bytes);
        if (message.kind === 'sealed') return this.#onSealed(node, message);
        node.sent.push(message);
        if (node.isLinkUp) this.#onMessage(node, message);
        return;
      }
      default:
    }
  }

  /** In an unknown channel nothing is said but that there is none. */
  #onSealed(node: Node, sealed: MessageOf<'sealed'>): void {
    const opened = this.seal.open(node, sealed);
    if (opened === undefined) {
      node.sent.push(sealed);
      this.reseal(node);
      return;
    }
    node.sent.push(opened.message);
    if (!node.isLinkUp) return;
    this.#onMessage(node, opened.message);
    if (opened.isFirst) this.#askAgain(node);
  }

  /** Questions that a terminal has not answered; asked again in its next channel. */
  readonly #open = new Map<string, { to: Node; payload: Message }>();

  #askAgain(node: Node): void {
    for (const { to, payload } of this.#open.values()) if (to === node) this.hand(node, payload);
  }

  /** "There is no channel", in nobody's name. */
  reseal(node: Node): void {
    const request = randomRequestId(this.rng);
    this.tellBytes(node, 'down', encodeMessage({ kind: 'reseal', request }));
  }

  #onMessage(node: Node, message: Message): void {
    switch (message.kind) {
      case 'address':
        this.#records.set(message.record, message.candidates);
        this.#answerQueries();
        if (this.answers.address)
          this.tell(node, 'call', { kind: 'addressRecorded', record: message.record });
        if (this.answers.polled && message.pollSeconds !== undefined) this.#handWaiting(node);
        return;
      case 'hello':
        if (this.answers.hello)
          this.tellBytes(node, 'down', encodeMessage(this.seal.welcome(node, message)));
        return;
      case 'register':
        if (this.answers.register)
          this.tell(node, 'down', {
            kind: 'registered',
            request: message.request,
            name: node.name,
            membership: Uint8Array.of(1),
            time: AT.wallMs,
          });
        return;
      case 'connect':
        if (this.answers.connect) this.#onConnect(node, message);
        return;
      case 'allowList':
        this.#onAllowList(node, message);
        return;
      case 'extend':
        if (this.answers.extend) this.#onExtend(node, message);
        return;
      case 'endNotice':
        this.notices.push(message);
        if (this.answers.ended)
          this.tell(node, 'down', {
            kind: 'ended',
            request: message.request,
            session: message.session,
          });
        return;
      case 'candidates':
        this.#onCandidates(node, message);
        return;
      default:
        throw new Error(`a terminal does not send ${message.kind}`);
    }
  }

  /** Both ends of a session hear of one another; the filter is the real manager's business. */
  #onCandidates(node: Node, message: MessageOf<'candidates'>): void {
    const { session, generation, candidates, varies, request } = message;
    this.tell(node, 'down', { kind: 'candidatesTold', request });
    const found = this.sessions.find(({ grant }) => grant.session === session);
    const peer = found?.caller === node ? found.callee : found?.caller;
    if (peer === undefined || !peer.isLinkUp) return;
    this.tell(peer, 'down', { kind: 'peerCandidates', session, generation, candidates, varies });
  }

  /** Questions for a terminal that sleeps wait for its poll. */
  #waiting: { to: Node; payload: Message }[] = [];

  #handWaiting(node: Node): void {
    const waiting = this.#waiting.filter(({ to }) => to === node);
    this.#waiting = this.#waiting.filter(({ to }) => to !== node);
    for (const { payload } of waiting) this.hand(node, payload);
    this.tell(node, 'call', { kind: 'polled', handed: waiting.length });
  }

  #onConnect(caller: Node, connect: MessageOf<'connect'>): void {
    if (this.#seen.has(connect.request)) return;
    this.#seen.add(connect.request);
    const callee = this.nodes.find(({ name }) => name === connect.calleeName);
    if (callee === undefined) return;
    const payload = askOf(caller, connect, randomRequestId(this.rng));
    this.#asked.set(payload.request, { caller, connect });
    if (callee.isLinkUp) this.hand(callee, payload, connect.waitMs);
    else this.#waiting.push({ to: callee, payload });
  }

  #onAllowList(callee: Node, answer: MessageOf<'allowList'>): void {
    this.#open.delete(answer.request);
    const extending = this.#extending.get(answer.request);
    if (extending !== undefined)
      return this.#onExtendAnswer(callee, answer, extending.node, extending.extend);
    const asked = this.#asked.get(answer.request);
    if (asked === undefined) return;
    this.#asked.delete(answer.request);
    const { caller, connect } = asked;
    const { service, want } = connect;
    const consent = consentOf(caller, callee, connect, answer);
    const { record } = answer;
    const verdict = judged(answer, caller, { service, want });
    if (!verdict.allowed || record === undefined) {
      this.tell(caller, 'down', { kind: 'refusal', request: connect.request, code: 'refused' });
      return;
    }
    const terms = grantFor(want, verdict, { secondsDefault: 3_600, secondsMax: 86_400 });
    const grant: Grant = {
      version: 1,
      session: randomSessionId(this.rng),
      callerId: caller.id,
      calleeId: callee.id,
      callerName: caller.name,
      calleeName: callee.name,
      service,
      ...terms,
      verdict: consent.hash,
    };
    this.sessions.push({
      grant,
      caller,
      callee,
      revision: 0,
      seconds: terms.seconds,
      bytes: terms.bytes,
    });
    const key = randomBytes(this.rng, 32);
    const notify = (): void => {
      const { share } = answer;
      this.#notify(caller, connect.request, grant, key, callee, { record, share }, consent);
      this.#notify(callee, answer.nonce, grant, key, caller, connect);
    };
    this.#queries.push({ wanted: [record, connect.record], notify });
    this.#answerQueries();
  }

  #answerQueries(): void {
    const ready = this.#queries.filter(({ wanted }) => wanted.every((id) => this.#records.has(id)));
    this.#queries = this.#queries.filter((query) => !ready.includes(query));
    for (const { notify } of ready) notify();
  }

  #notify(
    to: Node,
    request: MessageOf<'connect'>['request'],
    grant: Grant,
    key: Uint8Array,
    peer: Node,
    { record, share }: { readonly record: RecordId; readonly share?: Uint8Array | undefined },
    consent?: Consent,
  ): void {
    const encoded = encodeGrant(grant);
    const notice = this.alter(to, {
      kind: 'addressNotice',
      request,
      grant: encoded,
      signature: signed(this.manager, 'grant', encoded),
      key,
      peerKeys: peer.keys,
      peerCandidates: this.#records.get(record) ?? [],
      verdict: consent?.verdict,
      verdictSignature: consent?.verdictSignature,
      peerShare: this.sharesKeys ? share : undefined,
    });
    if (notice === undefined) return;
    this.lastNotice.set(to, notice);
    this.tell(to, 'down', notice);
  }

  #onExtend(node: Node, extend: MessageOf<'extend'>): void {
    const session = this.sessions.find(({ grant }) => grant.session === extend.session);
    if (session === undefined || this.#seen.has(extend.request)) return;
    this.#seen.add(extend.request);
    checkExtension(node, extend);
    this.#extending.set(extend.request, { node, extend });
    const { grant, callee } = session;
    this.hand(callee, {
      kind: 'askExtend',
      request: extend.request,
      session: grant.session,
      callerName: grant.callerName,
      callerId: grant.callerId,
      service: grant.service,
      want: extend.want,
    });
  }

  #onExtendAnswer(
    callee: Node,
    answer: MessageOf<'allowList'>,
    node: Node,
    extend: MessageOf<'extend'>,
  ): void {
    this.#extending.delete(answer.request);
    const session = this.sessions.find(({ grant }) => grant.session === extend.session);
    if (session === undefined || session.callee !== callee) return;
    const { grant, seconds, bytes } = session;
    const { service } = grant;
    const { want } = extend;
    consentOf(session.caller, callee, extend, answer);
    const verdict = judged(answer, session.caller, { service, want }, { seconds, bytes });
    if (!verdict.allowed) {
      this.tell(node, 'down', { kind: 'refusal', request: extend.request, code: 'refused' });
      return;
    }
    Object.assign(
      session,
      grantFor(
        extend.want,
        verdict,
        { secondsDefault: 3_600, secondsMax: 86_400 },
        { seconds, bytes },
      ),
    );
    session.revision += 1;
    for (const to of [session.caller, session.callee])
      this.tell(to, 'down', this.newExpiry(session, extend.request));
  }

  /** A signed expiry of a session as it stands; `changes` for what a manager would not say. */
  newExpiry(
    session: Session,
    request: MessageOf<'newExpiry'>['request'],
    changes: Partial<Session> = {},
  ): MessageOf<'newExpiry'> {
    const { grant, revision, seconds, bytes } = { ...session, ...changes };
    const encoded = encodeExpiry({ version: 1, session: grant.session, revision, seconds, bytes });
    return {
      kind: 'newExpiry',
      request,
      expiry: encoded,
      signature: signed(this.manager, 'expiry', encoded),
    };
  }
}
