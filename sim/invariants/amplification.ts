// Whom a socket sends to, and how much (docs/wire.md §9): nothing before an introduction and
// nothing of a talk that is not this terminal's; to an address that has not proven to be the peer's
// at most three times what came from it and was genuine; beyond that a few small packets, ten in a
// second, and only so many to one of its ports over all sockets, then a few a minute; the
// many-socket search is excepted, and judged in searches.ts. After the end there are a few CLOSEs
// for a while, then silence.

import type { Path } from '../../protocol/core.ts';
import { DATA_LIMITS } from '../../protocol/data/limits.ts';
import { HANDSHAKE_PACKET_BYTES, PACKET_OVERHEAD_BYTES } from '../../protocol/data/packet.ts';
import { PROBE_BYTES, isProbe } from '../../protocol/data/probe.ts';
import { type Micros, ms } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';
import type { Searches } from './searches.ts';
import type { TalkBook, TalkEnd } from './talk-book.ts';

type Datagram = Extract<Happening, { kind: 'datagramSent' | 'datagramReceived' }>;

const INITIATION = 1;
const RESPONSE = 2;
/**
 * Small packets from one socket to an address that has never answered, in any second; and from all
 * sockets of a terminal to one address and port since it last heard from there: wanted are 10
 * to a candidate, a second round and a new search for the way take others.
 */
const SMALL_MAX = 10;
const SMALL_FIRST_MAX = 40;
/** In the long run 4 a minute, and 10 more when an open talk is sure to have lost its way. */
const SMALL_MINUTE_MAX = 4;
const SMALL_LOST_MAX = 10;
const MINUTE_MICROS = ms(60_000);
const SMALL_MICROS = ms(1_000);
/**
 * Packets that a forger cannot make are kept, to be known when they arrive: of three searches, each
 * of 500 a second from either end, so many are under way for more than a second.
 */
const GENUINE_MAX = 4_096;
/** A CLOSE is four numbers, padded. */
const CLOSE_BYTES_MAX = PACKET_OVERHEAD_BYTES + 48;
const CLOSES_MAX = 1 + DATA_LIMITS.closeRepeatsMax + DATA_LIMITS.closeAnswersMax;
const CLOCK_SHARE = 1.1;

/** What went between one socket and one address. */
interface Exchange {
  /** Of handshakes and probes, and of all else. */
  smallBytes: number;
  largeBytes: number;
  /** Of datagrams that only the peer can have made. */
  genuineBytes: number;
  /** Those of a search. */
  searched: number;
  /** When the last small packets left that nothing had paid for. */
  readonly small: Micros[];
  /** Of the probes that went this way, as text: who answers one from there is there. */
  readonly tokens: Set<string>;
}

/** One end's own account. */
interface Account {
  /** Of the caller: its initiation, as text; all it sends are the same. */
  initiation: string | undefined;
  closes: number;
  /** Small packets since something genuine last came, by address. */
  readonly remotes: Map<Path, { count: number; readonly since: Micros }>;
}

/** Watches every datagram that leaves. */
export function amplificationIsBounded(world: World, book: TalkBook, searches: Searches): Watcher {
  return new AmplificationIsBounded(world, book, searches);
}

class AmplificationIsBounded implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #searches: Searches;
  readonly #lateMicros: number;
  readonly #sockets = new Map<Path, Map<Path, Exchange>>();
  readonly #accounts = new WeakMap<TalkEnd, Account>();
  readonly #ofTerminal = new Map<VirtualTerminal, Set<Path>>();
  /** Probes of honest ends, as text; the newest. */
  readonly #probes = new Set<string>();
  /** What is being received; a trace says whether it was genuine. */
  #arriving:
    | {
        readonly end: TalkEnd | undefined;
        readonly exchange: Exchange;
        readonly peer: Path;
        readonly bytes: number;
      }
    | undefined;
  /** Of the probe that leaves next. */
  #token: string | undefined;

  constructor(world: World, book: TalkBook, searches: Searches) {
    this.#world = world;
    this.#book = book;
    this.#searches = searches;
    this.#lateMicros = ms(world.options['clock.late']);
  }

  onHappening(happening: Happening): void {
    switch (happening.kind) {
      case 'datagramSent':
        return this.#onSent(happening);
      case 'datagramReceived':
        return this.#onReceived(happening);
      case 'trace': {
        const { event } = happening;
        // Opened: with the key of the talk, for the first time.
        if (event.kind === 'packetReceived' && this.#arriving !== undefined) {
          const { exchange, peer, bytes } = this.#arriving;
          this.#arriving = undefined;
          this.#isPaid(this.#book.end, exchange, peer, bytes);
        }
        return;
      }
      case 'tokenSealed':
        this.#token = happening.isAnswer ? undefined : String(happening.bytes);
        return;
      case 'tokenOpened':
        if (happening.isAnswer) this.#onAnswer(String(happening.bytes));
        return;
      case 'socketOpened':
        return this.#onSocket(happening.terminal, happening.path);
      case 'socketClosed':
        this.#sockets.delete(happening.path);
        this.#ofTerminal.get(happening.terminal)?.delete(happening.path);
        return;
      case 'killed':
        for (const path of this.#ofTerminal.get(happening.terminal) ?? [])
          this.#sockets.delete(path);
        this.#ofTerminal.delete(happening.terminal);
        return;
      default:
        return;
    }
  }

  /** An answer to a probe that went there and nowhere else: the peer is there. */
  #onAnswer(token: string): void {
    if (this.#arriving?.exchange.tokens.has(token) !== true) return;
    this.#arriving.end?.proven.add(this.#arriving.peer);
  }

  #onSocket(terminal: VirtualTerminal, path: Path): void {
    this.#sockets.set(path, new Map());
    const paths = this.#ofTerminal.get(terminal);
    if (paths === undefined) this.#ofTerminal.set(terminal, new Set([path]));
    else paths.add(path);
  }

  #onReceived({ terminal, socket, peer, bytes }: Datagram): void {
    const exchange = this.#exchange(socket, peer);
    const talk = this.#book.talkOf(bytes);
    const own = talk?.caller?.terminal === terminal ? talk.caller : talk?.callee;
    const end = own?.terminal === terminal ? own : undefined;
    this.#arriving = { end, exchange, peer, bytes: bytes.length };
    // Nothing is traced of a handshake or a probe: genuine is what the other end has made.
    if (this.#isGenuine(bytes)) this.#isPaid(end, exchange, peer, bytes.length);
  }

  #isPaid(end: TalkEnd | undefined, exchange: Exchange, peer: Path, bytes: number): void {
    exchange.genuineBytes += bytes;
    exchange.small.length = 0;
    if (end !== undefined) this.#accountOf(end).remotes.delete(peer);
  }

  #isGenuine(bytes: Uint8Array): boolean {
    if (isProbe(bytes)) return this.#isOfRogue(bytes) || this.#probes.has(String(bytes));
    if (bytes.length !== HANDSHAKE_PACKET_BYTES || bytes[0] > RESPONSE) return false;
    if (this.#isOfRogue(bytes) || bytes[0] === RESPONSE) return true;
    const caller = this.#book.talkOf(bytes)?.caller;
    return caller !== undefined && this.#accounts.get(caller)?.initiation === String(bytes);
  }

  #isOfRogue(bytes: Uint8Array): boolean {
    const talk = this.#book.talkOf(bytes);
    return [talk?.caller, talk?.callee].some((end) => end && this.#world.isRogue(end.terminal));
  }

  #onSent({ terminal, socket, peer, bytes }: Datagram): void {
    this.#arriving = undefined;
    const token = this.#token;
    this.#token = undefined;
    const { end } = this.#book;
    if (this.#world.isRogue(terminal)) return;
    if (end === undefined) {
      const what = `${terminal.name} sends ${bytes.length} bytes`;
      this.#violate(`${what} to ${peer.host}:${peer.port} in no talk of its own`);
    }
    const account = this.#accountOf(end);
    const exchange = this.#exchange(socket, peer);
    if (token !== undefined && isProbe(bytes)) exchange.tokens.add(token);
    const isSmall = this.#isSmall(end, account, bytes);
    if (isSmall) exchange.smallBytes += bytes.length;
    else exchange.largeBytes += bytes.length;
    if (!end.proven.has(peer)) this.#isBounded(end, { account, exchange, peer, bytes, isSmall });
    if (end.ended !== undefined) this.#onClose(end, account, end.ended.at, bytes);
    else if (!isSmall && bytes[0] !== RESPONSE && end.establishedAt === undefined)
      this.#violateBy(end, 'speaks before it is asked');
  }

  /** What one end may say to an address that is not known to be its peer's. */
  #isSmall(end: TalkEnd, account: Account, bytes: Uint8Array): boolean {
    if (isProbe(bytes)) {
      if (end.ended !== undefined) this.#violateBy(end, 'probes after the end');
      this.#probes.add(String(bytes));
      if (this.#probes.size > GENUINE_MAX) {
        const [oldest] = this.#probes;
        this.#probes.delete(oldest);
      }
      return true;
    }
    if (bytes[0] !== INITIATION) return false;
    account.initiation ??= String(bytes);
    if (end.role !== 'caller') this.#violateBy(end, 'knocks');
    if (end.establishedAt !== undefined) this.#violateBy(end, 'knocks in an open talk');
    if (end.ended !== undefined) this.#violateBy(end, 'knocks after the end');
    return true;
  }

  #isBounded(
    end: TalkEnd,
    sent: {
      readonly account: Account;
      readonly exchange: Exchange;
      readonly peer: Path;
      readonly bytes: Uint8Array;
      readonly isSmall: boolean;
    },
  ): void {
    const { account, exchange, peer, bytes, isSmall } = sent;
    const { smallBytes, largeBytes, genuineBytes, small } = exchange;
    if (isSmall && bytes.length !== HANDSHAKE_PACKET_BYTES && bytes.length !== PROBE_BYTES)
      this.#violateBy(end, `knocks with ${bytes.length} bytes`);
    const mayBytes = DATA_LIMITS.amplification * genuineBytes;
    if ((isSmall ? smallBytes : largeBytes) <= mayBytes) return;
    if (!isSmall) {
      const what = `${largeBytes} bytes to ${peer.host}:${peer.port}`;
      this.#violateBy(end, `sends ${what}, which has sent ${genuineBytes}`);
    }
    if (this.#searches.isOf(end, peer, bytes, exchange.searched)) {
      exchange.searched += 1;
      return;
    }
    const { now } = this.#world;
    small.push(now);
    while (small[0] < now - SMALL_MICROS) small.shift();
    const remote = account.remotes.get(peer) ?? { count: 0, since: now };
    remote.count += 1;
    account.remotes.set(peer, remote);
    const minutes = (CLOCK_SHARE * (now - remote.since)) / MINUTE_MICROS;
    // A way that there never was is none to be lost.
    const lost = end.establishedAt === undefined ? 0 : SMALL_LOST_MAX * Math.ceil(minutes);
    const most = SMALL_FIRST_MAX + SMALL_MINUTE_MAX * minutes + lost;
    if (small.length <= SMALL_MAX && remote.count <= most) return;
    const what = `${small.length} packets in a second, ${remote.count} in all`;
    this.#violateBy(end, `sends ${what} to an address that says nothing`);
  }

  /** The first CLOSE leaves before the end is told. */
  #onClose(end: TalkEnd, account: Account, endedAt: Micros, bytes: Uint8Array): void {
    account.closes += 1;
    const now = end.terminal.clock.local(this.#world.now);
    const most = (ms(DATA_LIMITS.closingMsMax) + this.#lateMicros) * CLOCK_SHARE;
    if (account.closes > CLOSES_MAX || bytes.length > CLOSE_BYTES_MAX)
      this.#violateBy(end, `sends ${bytes.length} bytes, datagram ${account.closes} after its end`);
    if (now - endedAt > most && !end.hasSlept)
      this.#violateBy(end, `still speaks ${now - endedAt} µs after its end`);
  }

  #exchange(socket: Path, peer: Path): Exchange {
    const exchanges = this.#sockets.get(socket);
    if (exchanges === undefined) return this.#violate(`${socket.port} is no open socket`);
    let exchange = exchanges.get(peer);
    if (exchange === undefined) {
      exchange = {
        smallBytes: 0,
        largeBytes: 0,
        genuineBytes: 0,
        searched: 0,
        small: [],
        tokens: new Set(),
      };
      exchanges.set(peer, exchange);
    }
    return exchange;
  }

  #accountOf(end: TalkEnd): Account {
    let account = this.#accounts.get(end);
    if (account === undefined) {
      account = { initiation: undefined, closes: 0, remotes: new Map() };
      this.#accounts.set(end, account);
    }
    return account;
  }

  #violateBy({ role, session }: TalkEnd, says: string): never {
    this.#violate(`the ${role} of ${session} ${says}`);
  }

  #violate(says: string): never {
    this.#world.violate('amplification', says);
  }
}
