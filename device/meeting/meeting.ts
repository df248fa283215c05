// How two introduced terminals find a path [S1005, S4005], a pure core beside the talk's
// connection: from a common start on both send small authenticated packets to all addresses of the
// other, so that each one's NAT opens for the other (RFC 5128 §3.3, RFC 8445). With key shares both
// send probes, and the first that the caller hears opens the talk; the handshake's message goes out
// only where a share is missing. A better path takes over by path validation. Then, as far as
// needed: a relay, a second round from a new socket, the many-socket search; all of it again when
// the way is lost, within the same grant. Over 400 lines: one state machine, best read in one go.

import {
  PATH_CLASSES,
  type PathClass,
  addressBytes,
  addressScope,
} from '../../protocol/address.ts';
import type { RelayTerms } from '../../protocol/control/messages.ts';
import { type Path, type Transmit, samePath } from '../../protocol/core.ts';
import { HANDSHAKE_PACKET_BYTES } from '../../protocol/data/packet.ts';
import { PROBE_BYTES, PROBE_TOKEN_BYTES, type Probe } from '../../protocol/data/probe.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { randomBytes } from '../../protocol/random.ts';
import { type Micros, NEVER, after, earlier, micros, ms } from '../../protocol/time.ts';
import type { PeerPath } from '../candidates.ts';
import type { MeetingReport, SocketId } from '../terminal-types.ts';
import { type Gathered, isElsewhere } from './gathering.ts';
import { MEETING_LIMITS } from './limits.ts';
import type { MeetingHost, MeetingOptions } from './meeting-types.ts';
import { type Pair, Pairs } from './pairs.ts';
import type { Relay } from './relay.ts';
import { RelayUse } from './relay-use.ts';
import { Search } from './search.ts';
import { Telling, ownCandidates } from './telling.ts';

/** Where another endpoint than the first came from. */
type Endpoint = 'second' | 'search' | 'relay';

const rankOf = (of: PathClass): number => PATH_CLASSES.indexOf(of);

/** The search for a way to one peer, from the notice to the end of the talk. */
export class Meeting {
  readonly #options: MeetingOptions;
  readonly #host: MeetingHost;
  readonly #pairs = new Pairs();
  readonly #answers: { readonly path: Path; readonly token: Uint8Array }[] = [];
  readonly #endpoints = new Map<SocketId, Endpoint>();
  /** What is known of the endpoints that were asked about. */
  readonly #gathered = new Map<SocketId, Gathered>();
  /** The peer's addresses as it last told them, with those of its first notice. */
  #remotes: readonly PeerPath[];
  #peerGeneration = -1;
  #peerVaries: boolean;
  readonly #searchToken: Uint8Array;
  #search: Search | undefined;
  #probes = 0;
  readonly #relay: RelayUse;
  /** Our own addresses are asked for anew, and the peer has to hear of them. */
  #isLost = false;
  #hasMoved = false;
  /** Packets of the search that are due. */
  readonly #pending: Path[] = [];
  #hasHeard = false;
  #main: Path | undefined;
  #class: PathClass | undefined;
  #isEnded = false;
  // What is still to come, each at its time.
  #secondAt: Micros = NEVER;
  #searchAt: Micros = NEVER;
  #searchEndAt: Micros = NEVER;
  #retryAt: Micros = NEVER;
  readonly #telling = new Telling();
  #restartPauseMs: number = MEETING_LIMITS.restartMsFirst;
  #noRestartUntil: Micros = micros(0);

  constructor(now: Micros, options: MeetingOptions, host: MeetingHost) {
    this.#options = options;
    this.#host = host;
    this.#remotes = options.paths;
    this.#peerVaries = options.peerVaries;
    this.#searchToken = randomBytes(options.rng, PROBE_TOKEN_BYTES);
    if (options.gathered !== undefined) this.#gathered.set(options.socket, options.gathered);
    const go = after(now, ms(options.startMs));
    if (!options.isRelayOnly) {
      for (const { path, class: of } of options.paths) this.#pairs.list(now, path, of, go);
      this.#secondAt = after(go, ms(MEETING_LIMITS.secondRoundMs));
      if (options.searchAt !== undefined)
        this.#searchAt = after(go, ms(MEETING_LIMITS.searchAfterMs));
    }
    this.#relay = this.#relayUse();
    this.#relay.soon(go, options.isRelayOnly ? 0 : MEETING_LIMITS.relayAfterMs);
  }

  /** It may go through a relay only, and none was offered: nothing is worth waiting for. */
  get isHopeless(): boolean {
    return this.#options.isRelayOnly && !this.#relay.isOffered;
  }

  /** Where the talk goes now; undefined: no way is found yet. */
  get class(): PathClass | undefined {
    return this.#class;
  }

  /** Whether this endpoint is one of this talk's further ones. */
  owns(socket: SocketId): boolean {
    return this.#endpoints.has(socket);
  }

  /** The relay, if one was looked for. */
  get relay(): Relay | undefined {
    return this.#relay.relay;
  }

  /** With `relay = "only"` no datagram of the peer's counts that did not come through a relay. */
  accepts(path: Path): boolean {
    if (!this.#options.isRelayOnly) return true;
    return this.#relay.carries(path);
  }

  /** How a path reaches the peer. */
  classOf(path: Path): PathClass {
    const known = this.#pairs.find(path);
    if (known !== undefined) return known.class;
    if (this.#relay.carries(path)) return 'relay';
    const isRemoteRelay = this.#remotes.some(
      (one) => one.class === 'relay' && one.path.host === path.host && one.path.port === path.port,
    );
    if (isRemoteRelay) return 'relay';
    const scope = addressScope(addressBytes(path.host) ?? new Uint8Array());
    return scope === 'global' ? 'direct' : 'lan';
  }

  report(): MeetingReport {
    return {
      isMapped: this.#isMapped,
      varies: this.#varies,
      tried: this.#pairs.tried,
      hasHeard: this.#hasHeard,
      probes: this.#probes,
      ...this.#relay.report(),
    };
  }

  // --- what comes in -----------------------------------------------------------------------------

  /** A datagram that looks like a probe. False if the peer did not make it. */
  onProbe(now: Micros, path: Path, bytes: Uint8Array): boolean {
    const probe = this.#options.probes.read(bytes);
    if (probe === undefined) return false;
    if (this.#isEnded) return true;
    this.#hasHeard = true;
    const pair = this.#pairs.add(path, this.classOf(path));
    const isKnown = probe.kind === 'answer' && this.#isAnswer(now, pair, probe);
    this.#pairs.onHeard(now, pair, bytes.length);
    // The caller takes the first path on which it hears the peer, and says so until it is heard.
    const isFirst = this.#options.role === 'caller' || probe.kind === 'choice';
    if (this.#options.isKeyed && isFirst && this.#main === undefined) this.#host.open(now, path);
    if (probe.kind !== 'answer') this.#answer(path, probe.token);
    // Where it was proven before it is heard again, while the way is silent: so it is there.
    if (isKnown || (pair.isProven && this.#isQuiet(now))) this.#onProven(now, pair, isKnown);
    else if (!pair.isProven && probe.kind !== 'answer') this.#trigger(now, pair);
    return true;
  }

  /** The handshake is done on this path, or path validation has moved the talk to it. */
  onWay(now: Micros, path: Path): void {
    const isFirst = this.#main === undefined;
    this.#hasHeard = true;
    this.#main = path;
    const pair = this.#pairs.add(path, this.classOf(path));
    this.#pairs.main = pair;
    pair.isProven = true;
    this.#pairs.done(pair);
    this.#class = pair.class;
    this.#restartPauseMs = MEETING_LIMITS.restartMsFirst;
    this.#secondAt = NEVER;
    this.#host.onRoundTrip(path, pair.roundTrip);
    this.#host.onWay(path, pair.class);
    this.#relay.onWay(now, path, pair.class === 'relay');
    this.#pairs.rest((other) => rankOf(other.class) < rankOf(pair.class));
    const { role, isKeyed } = this.#options;
    if (isFirst && isKeyed && role === 'caller') {
      this.#pairs.choice = pair;
      pair.nextAt = now;
      pair.pauseMs = MEETING_LIMITS.pauseMsFirst;
    }
    if (pair.class === 'relay') {
      this.#retryAt = this.#options.isRelayOnly ? NEVER : after(now, ms(MEETING_LIMITS.retryMs));
      return;
    }
    this.#retryAt = NEVER;
    this.#searchAt = NEVER;
    this.#search?.stop();
    this.#closeEndpoints((of, socket) => of !== 'relay' && socket !== path.via);
  }

  /** What we send is not acknowledged any more, or this machine's network is another one. */
  onLost(now: Micros, isSure: boolean): void {
    if (this.#isEnded || this.#main === undefined) return;
    // Whether it carries the talk, or could.
    this.relay?.check(now);
    if (!isSure && now < this.#noRestartUntil) return;
    this.#noRestartUntil = after(now, ms(this.#restartPauseMs));
    this.#restartPauseMs = Math.min(this.#restartPauseMs * 2, MEETING_LIMITS.restartMsMax);
    if (!this.#options.isRelayOnly) {
      this.#isLost = true;
      this.#host.gather(this.#options.socket);
    }
    if (isSure) this.#pairs.onMoved(now);
    this.#pairs.again(now);
    this.#relay.soon(now, MEETING_LIMITS.relayAfterMs);
  }

  /** The peer tells where it is now; true if that is news. */
  onPeerCandidates(
    now: Micros,
    generation: number,
    paths: readonly PeerPath[],
    varies: boolean,
  ): boolean {
    if (this.#isEnded || generation <= this.#peerGeneration) return false;
    this.#peerGeneration = generation;
    this.#peerVaries = varies;
    this.#remotes = paths;
    const main = this.#main;
    // In a set-up it was there a moment ago; a talk's peer leaves a trail of places.
    if (main !== undefined) this.#pairs.unlist(({ path }) => samePath(path, main));
    this.#relay.permit(now);
    for (const one of paths) {
      for (const via of this.#vias()) this.#addPair(now, one, via);
    }
    // The peer has noticed first that nothing passes: perhaps it is we who have moved.
    if (this.#isQuiet(now)) this.onLost(now, false);
    return true;
  }

  /** An endpoint of ours is open. */
  onEndpointOpen(now: Micros, socket: SocketId): void {
    const of = this.#endpoints.get(socket);
    if (of === 'search') this.#search?.onSocket(socket);
    if (of === 'relay') this.#relay.onOpen(now, socket);
  }

  onEndpointFailed(now: Micros, socket: SocketId): void {
    const of = this.#endpoints.get(socket);
    if (of === 'relay') this.#relay.onFailed(now, socket);
    if (of === 'search') this.#search?.onSocketFailed(socket);
    this.#closeEndpoints((_, each) => each === socket);
  }

  /** Where an endpoint of ours can be reached; undefined: nobody could be asked. */
  onGathered(now: Micros, socket: SocketId, gathered: Gathered): void {
    if (isElsewhere(this.#gathered.get(socket), gathered)) this.#host.onElsewhere();
    this.#gathered.set(socket, gathered);
    // The first time the notice has told it, or the second round will.
    if (socket === this.#options.socket && !this.#isLost) return;
    this.#hasMoved ||= this.#isLost;
    // No direct way is likely, and the peer hears of the relay with the first word.
    if (this.#isLost && (this.#varies || this.#peerVaries)) this.#relay.soon(now, 0);
    this.#isLost = false;
    if (this.#endpoints.get(socket) === 'second') {
      for (const one of this.#remotes) this.#addPair(now, one, socket);
    }
    this.#telling.soon(now);
  }

  /** A datagram on a socket of the relay's, taken out of what the relay wrapped it in. */
  fromRelay(
    now: Micros,
    socket: SocketId,
    wrapped: { readonly from: Path; readonly bytes: Uint8Array },
  ): ReturnType<Relay['handleDatagram']> {
    const heard = this.#relay.handleDatagram(now, socket, wrapped);
    // It may have been the permission that a probe has waited for.
    if (heard === 'consumed') this.#pairs.release(now, (pair) => this.#canReach(now, pair));
    return heard;
  }

  /** The manager has minted newer credentials for the relay. */
  onRelayTerms(terms: RelayTerms): void {
    this.#relay.renew(terms);
  }

  /** The talk is over: nothing more is tried. What is open closes with `endpoints`. */
  end(now: Micros): void {
    this.#isEnded = true;
    this.#search?.stop();
    this.#pending.length = 0;
    this.#answers.length = 0;
    // The relay still carries the peer's word about the end.
    if (this.#relay.carries(this.#main)) this.#relay.rest(now);
    else this.#relay.leave(now);
  }

  /** The endpoints beside the first one, to be closed when the talk has nothing more to say. */
  get endpoints(): readonly SocketId[] {
    return [...this.#endpoints.keys()];
  }

  /** Nobody will hear of this talk any more: the allocation is given back. */
  leave(now: Micros): void {
    this.#relay.leave(now);
  }

  /** Whether it has nothing more to say: its endpoints may be closed. */
  get hasLeft(): boolean {
    return this.relay?.hasLeft ?? true;
  }

  /** Whether `leave` is still to be called: there is a relay that nobody has given back. */
  get isToLeave(): boolean {
    return this.relay?.state === 'asked' || this.relay?.state === 'ready';
  }

  // --- time --------------------------------------------------------------------------------------

  handleTimeout(now: Micros): void {
    this.#relay.handleTimeout(now);
    if (this.#isEnded) return;
    if (this.#secondAt <= now) this.#openSecond();
    if (this.#searchAt <= now) this.#beginSearch(now);
    if (this.#searchEndAt <= now) this.#endSearch();
    if (this.#telling.at <= now) this.#tell(now);
    if (this.#retryAt <= now) {
      this.#retryAt = after(now, ms(MEETING_LIMITS.retryMs));
      this.#pairs.again(now, (pair) => this.#isWanted(pair));
    }
    for (let step = this.#search?.step(now); step !== undefined; step = this.#search?.step(now)) {
      if (step.kind === 'send') this.#pending.push(step.path);
      else this.#openSearchSocket();
    }
  }

  nextTimeout(): Micros {
    let next = this.#relay.nextTimeout();
    if (this.#isEnded) return next;
    if (this.#answers.length > 0 || this.#pending.length > 0) return micros(0);
    // Asked for every datagram of the talk.
    next = earlier(next, earlier(this.#secondAt, this.#searchAt));
    next = earlier(next, earlier(this.#telling.at, this.#retryAt));
    if (this.#search !== undefined) {
      next = earlier(next, earlier(this.#search.nextTimeout(), this.#searchEndAt));
    }
    for (const pair of this.#pairs.all) {
      if (pair.nextAt !== NEVER && this.#mayGo(pair)) next = earlier(next, pair.nextAt);
    }
    return next;
  }

  /** The next answer or probe; knocks are told to the owner on the way. */
  pollTransmit(now: Micros, into: Uint8Array): Transmit | undefined {
    const answer = this.#answers.shift();
    if (answer !== undefined) {
      const { path, token } = answer;
      const pair = this.#pairs.find(path);
      if (pair !== undefined) this.#pairs.onAnswered(now, pair, PROBE_BYTES);
      return { path, size: this.#options.probes.write(into, { kind: 'answer', token }) };
    }
    const searched = this.#pending.shift();
    if (searched !== undefined) {
      this.#probes = Math.min(this.#probes + 1, LIMITS.probesMax);
      const size = this.#options.probes.write(into, { kind: 'probe', token: this.#searchToken });
      return { path: searched, size };
    }
    if (this.#isEnded) return undefined;
    for (const pair of this.#pairs.all) {
      if (pair.nextAt > now || !this.#mayGo(pair)) continue;
      if (!this.#canReach(now, pair)) {
        this.#pairs.hold(pair);
        continue;
      }
      if (this.#knocks) {
        this.#pairs.onSent(now, pair, HANDSHAKE_PACKET_BYTES);
        this.#host.knock(pair.path);
        continue;
      }
      const { rng } = this.#options;
      const token = this.#pairs.token(now, pair, () => randomBytes(rng, PROBE_TOKEN_BYTES));
      this.#pairs.onSent(now, pair, PROBE_BYTES);
      const kind = pair === this.#pairs.choice ? 'choice' : 'probe';
      return { path: pair.path, size: this.#options.probes.write(into, { kind, token }) };
    }
    return undefined;
  }

  // --- pairs -------------------------------------------------------------------------------------

  /** The caller's first packets open the handshake; afterwards it probes like the callee. */
  get #knocks(): boolean {
    const { role, isKeyed } = this.#options;
    return role === 'caller' && !isKeyed && this.#main === undefined;
  }

  get #varies(): boolean {
    return [...this.#gathered.values()].some(({ varies }) => varies === true);
  }

  /** Undefined: nobody was asked. */
  get #isMapped(): boolean | undefined {
    const own = [...this.#gathered.values()];
    const isAsked = own.some(({ isMapped }) => isMapped !== undefined);
    return isAsked ? own.some(({ isMapped }) => isMapped === true) : undefined;
  }

  /** Our endpoints that take part, the first one as undefined. */
  #vias(): readonly (SocketId | undefined)[] {
    const vias: (SocketId | undefined)[] = this.#options.isRelayOnly ? [] : [undefined];
    for (const [socket, of] of this.#endpoints) {
      if (of === 'second' || socket === this.relay?.socket) vias.push(socket);
    }
    return vias;
  }

  #addPair(now: Micros, { path: { host, port }, class: of }: PeerPath, via?: SocketId): void {
    const isRelay = via !== undefined && via === this.relay?.socket;
    // A relay sends to no private address, and reaches the peer by the others of its IP versions.
    if (isRelay && (of === 'lan' || this.relay?.reaches(host) !== true)) return;
    const path: Path = via === undefined ? { host, port } : { host, port, via };
    const pair = this.#pairs.list(now, path, isRelay ? 'relay' : of, NEVER);
    const isMain = this.#main !== undefined && samePath(path, this.#main);
    const isWorse = this.#class !== undefined && rankOf(pair.class) > rankOf(this.#class);
    // Of an equal one: the peer would not tell us if it were where it was.
    if (!isMain && (!isWorse || this.#isQuiet(now))) pair.nextAt = earlier(pair.nextAt, now);
  }

  /** Whether a pair could serve better than what is there. */
  #isWanted(pair: Pair): boolean {
    if (this.#main !== undefined && samePath(pair.path, this.#main)) return false;
    return this.#class === undefined || rankOf(pair.class) < rankOf(this.#class);
  }

  #mayGo(pair: Pair): boolean {
    return this.#pairs.mayCarry(pair, this.#knocks ? HANDSHAKE_PACKET_BYTES : PROBE_BYTES);
  }

  /** Through a relay only when it has granted the permission: else it is lost, and counted. */
  #canReach(now: Micros, { path }: Pair): boolean {
    return !this.#relay.carries(path) || this.relay?.canReach(now, path) === true;
  }

  /** Answered once each, to where it came from: as long as what came. */
  #answer(path: Path, token: Uint8Array): void {
    if (this.#answers.length < MEETING_LIMITS.answersMax) this.#answers.push({ path, token });
  }

  #isAnswer(now: Micros, pair: Pair, { token }: Probe): boolean {
    const answered = this.#pairs.answered(pair, token);
    // One to the search proves nothing but that the peer heard it: who knows from where.
    if (answered === undefined) return false;
    if (answered.sentAt !== undefined) pair.roundTrip = now - answered.sentAt;
    this.#host.onRoundTrip(pair.path, pair.roundTrip);
    return true;
  }

  /** The peer is heard there: our own packet goes at once, as its NAT is open now. */
  #trigger(now: Micros, pair: Pair): void {
    if (!this.#isWanted(pair) && !this.#isQuiet(now)) return;
    this.#pairs.soon(now, pair);
  }

  /** The peer hears us there, and we hear it. */
  #onProven(now: Micros, pair: Pair, isAnswer: boolean): void {
    this.#pairs.onProven(pair);
    if (pair === this.#pairs.choice) this.#pairs.choice = undefined;
    if (this.#main === undefined) {
      if (this.#knocks) this.#trigger(now, pair);
      return;
    }
    this.#pairs.done(pair);
    if (samePath(pair.path, this.#main)) return;
    const isBetter = this.#isWanted(pair) && this.#isNamed(pair.path);
    const answeredMicros = isAnswer ? pair.roundTrip : undefined;
    if (isBetter || this.#isQuiet(now))
      this.#host.prefer(now, pair.path, { isBetter, answeredMicros });
  }

  /**
   * Whether the manager has told us of this host. Who stands between and sends on what it hears is
   * seen there too: that may be the only way, and never a better one than one that works.
   */
  #isNamed({ host }: Path): boolean {
    const named = [...this.#remotes, ...this.#options.paths].map(({ path }) => path.host);
    return host === this.#options.searchAt || named.includes(host);
  }

  #isQuiet(now: Micros): boolean {
    return this.#host.quietMicros(now) > ms(MEETING_LIMITS.quietMsLeast);
  }

  // --- the further means -------------------------------------------------------------------------

  #openSecond(): void {
    this.#secondAt = NEVER;
    const socket = this.#host.openEndpoint(undefined);
    if (socket !== undefined) this.#endpoints.set(socket, 'second');
  }

  #relayUse(): RelayUse {
    const { relay: terms, isRelayOff: isOff, rng } = this.#options;
    const host = this.#host;
    return new RelayUse(
      { terms, isOff, rng },
      {
        open: (server, transport) => {
          const socket = host.openEndpoint(server.host, transport === 'tcp' ? server : undefined);
          if (socket !== undefined) this.#endpoints.set(socket, 'relay');
          return socket;
        },
        close: (socket) => this.#closeEndpoints((_, each) => each === socket),
        isUdpSilent: () => this.#isMapped === false,
        own: () => [...this.#gathered.values()].flatMap(({ candidates }) => candidates),
        peers: () => this.#peerHosts,
        isNeeded: (now) => this.#isRelayNeeded(now),
        hasHeard: (now, then) => host.quietMicros(now) < now - then,
        onReady: (now, socket) => this.#onRelayReady(now, socket),
        onLost: (now) => this.#onRelayLost(now),
      },
    );
  }

  /** The peer is told, and may come. */
  #onRelayReady(now: Micros, socket: SocketId): void {
    if (this.#isEnded) return;
    for (const one of this.#remotes) this.#addPair(now, one, socket);
    this.#telling.soon(now);
  }

  /** If it carried the talk, or was to: every other way is tried, and another relay looked for. */
  #onRelayLost(now: Micros): void {
    if (this.#isEnded) return;
    this.#host.onRelayLost(this.relay?.says ?? '');
    if (this.#relay.carries(this.#main)) this.onLost(now, true);
    if (this.#main === undefined || this.#isRelayNeeded(now)) this.#relay.soon(now, 0);
  }

  /** The talk has lost its way, or is to lose it with the relay. */
  #isRelayNeeded(now: Micros): boolean {
    if (this.#isEnded || this.#main === undefined) return false;
    return this.#relay.carries(this.#main) || this.#isQuiet(now);
  }

  get #peerHosts(): readonly string[] {
    const hosts = this.#remotes.filter((one) => one.class !== 'lan').map(({ path }) => path.host);
    return [...new Set(hosts)];
  }

  #beginSearch(now: Micros): void {
    this.#searchAt = NEVER;
    const { searchAt: host, rng } = this.#options;
    // Both varying, or neither: there is nothing to be found that way.
    if (host === undefined || this.#search !== undefined || this.#varies === this.#peerVaries) {
      return;
    }
    // Of the notice: the peer tries our ports from its first endpoint, not from a later one.
    const port = this.#options.paths.find(
      ({ path, class: of }) => path.host === host && of === 'direct',
    )?.path.port;
    // What is no address to send to is none to search at either.
    if (port === undefined) return;
    this.#searchEndAt = after(now, ms(MEETING_LIMITS.searchMs + MEETING_LIMITS.searchLingerMs));
    this.#search = new Search(now, { host, port: this.#peerVaries ? undefined : port }, rng);
    this.#host.onSearch(host);
  }

  #endSearch(): void {
    this.#searchEndAt = NEVER;
    this.#search?.stop();
    this.#closeEndpoints((of, socket) => of === 'search' && socket !== this.#main?.via);
  }

  #openSearchSocket(): void {
    const socket = this.#host.openEndpoint(this.#options.searchAt);
    if (socket === undefined) this.#search?.onNoSocket();
    else this.#endpoints.set(socket, 'search');
  }

  #closeEndpoints(isClosed: (of: Endpoint, socket: SocketId) => boolean): void {
    for (const [socket, of] of this.#endpoints) {
      if (!isClosed(of, socket)) continue;
      this.#endpoints.delete(socket);
      this.#gathered.delete(socket);
      this.#pairs.drop(socket);
      this.#host.closeEndpoint(socket);
    }
  }

  // --- telling the peer --------------------------------------------------------------------------

  #tell(now: Micros): void {
    this.#telling.onTold(now);
    const own = this.#options.isRelayOnly ? [] : this.#gathered.values();
    const candidates = ownCandidates(this.relay?.relayed ?? [], own);
    if (candidates.length === 0) return;
    const moved = this.#hasMoved;
    this.#hasMoved = false;
    this.#host.tell(now, { candidates, varies: this.#varies, moved });
  }
}
