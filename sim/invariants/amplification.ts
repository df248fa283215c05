// Whom a socket sends to, and how much (threats §5, invariant 5; docs/wire.md §9): nothing before
// an introduction and nothing of a talk that is not this terminal's; to an address that has not
// proven to be the peer's at most three times what came from it and was genuine; a caller knocks
// with small packets, a few times; after the end there are a few CLOSEs for a while, then silence.

import type { Path } from '../../protocol/core.ts';
import { CONNECTION_DEFAULTS, DATA_LIMITS } from '../../protocol/data/limits.ts';
import { HANDSHAKE_PACKET_BYTES, PACKET_OVERHEAD_BYTES } from '../../protocol/data/packet.ts';
import { type Micros, ms } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher, World } from '../world.ts';
import type { TalkBook, TalkEnd } from './talk-book.ts';

type Datagram = Extract<Happening, { kind: 'datagramSent' | 'datagramReceived' }>;

const INITIATION = 1;
const RESPONSE = 2;
/** Initiations to one address: after 0, 250, 750, 1 750 ms, then each second until the last. */
const KNOCKS_MAX =
  4 + Math.ceil(CONNECTION_DEFAULTS.handshakeTimeoutMs / DATA_LIMITS.initiationRetryMsMax);
/** A CLOSE is four numbers, padded. */
const CLOSE_BYTES_MAX = PACKET_OVERHEAD_BYTES + 48;
const CLOSES_MAX = 1 + DATA_LIMITS.closeRepeatsMax + DATA_LIMITS.closeAnswersMax;
const CLOCK_SHARE = 1.1;

/** What went between one socket and one address. */
interface Exchange {
  sentBytes: number;
  /** Of datagrams that only the peer can have made. */
  genuineBytes: number;
  knocks: number;
}

/** One end's own account. */
interface Account {
  /** Of the caller: its initiation, as text; all it sends are the same. */
  initiation: string | undefined;
  closes: number;
}

/** Watches every datagram that leaves. */
export function amplificationIsBounded(world: World, book: TalkBook): Watcher {
  return new AmplificationIsBounded(world, book);
}

class AmplificationIsBounded implements Watcher {
  readonly #world: World;
  readonly #book: TalkBook;
  readonly #lateMicros: number;
  readonly #sockets = new Map<Path, Map<Path, Exchange>>();
  readonly #accounts = new WeakMap<TalkEnd, Account>();
  readonly #ofTerminal = new Map<VirtualTerminal, Set<Path>>();
  /** What is being received; a trace says whether it was genuine. */
  #arriving: { readonly exchange: Exchange; readonly bytes: number } | undefined;

  constructor(world: World, book: TalkBook) {
    this.#world = world;
    this.#book = book;
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
          this.#arriving.exchange.genuineBytes += this.#arriving.bytes;
          this.#arriving = undefined;
        }
        return;
      }
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

  #onSocket(terminal: VirtualTerminal, path: Path): void {
    this.#sockets.set(path, new Map());
    const paths = this.#ofTerminal.get(terminal);
    if (paths === undefined) this.#ofTerminal.set(terminal, new Set([path]));
    else paths.add(path);
  }

  #onReceived({ socket, peer, bytes }: Datagram): void {
    const exchange = this.#exchange(socket, peer);
    this.#arriving = { exchange, bytes: bytes.length };
    // Nothing is traced of a handshake: genuine is what the caller has made.
    if (bytes[0] === INITIATION && this.#isGenuine(bytes)) exchange.genuineBytes += bytes.length;
  }

  #isGenuine(bytes: Uint8Array): boolean {
    const caller = this.#book.talkOf(bytes)?.caller;
    if (caller !== undefined && this.#world.isRogue(caller.terminal)) return true;
    return caller !== undefined && this.#accounts.get(caller)?.initiation === String(bytes);
  }

  #onSent({ terminal, socket, peer, bytes }: Datagram): void {
    this.#arriving = undefined;
    const { end } = this.#book;
    if (this.#world.isRogue(terminal)) return;
    if (end === undefined) {
      const what = `${terminal.name} sends ${bytes.length} bytes`;
      this.#violate(`${what} to ${peer.host}:${peer.port} in no talk of its own`);
    }
    const account = this.#accountOf(end);
    const exchange = this.#exchange(socket, peer);
    exchange.sentBytes += bytes.length;
    if (bytes[0] === INITIATION) return this.#onKnock(end, account, exchange, bytes);
    const isProven = end.proven.has(peer);
    if (!isProven && exchange.sentBytes > DATA_LIMITS.amplification * exchange.genuineBytes) {
      const what = `${exchange.sentBytes} bytes to an address that has sent`;
      this.#violateBy(end, `sends ${what} ${exchange.genuineBytes}`);
    }
    if (bytes[0] === RESPONSE) {
      if (bytes.length !== HANDSHAKE_PACKET_BYTES) this.#violateBy(end, 'sends a long response');
    } else if (end.establishedAt === undefined) this.#violateBy(end, 'speaks before it is asked');
    if (end.ended !== undefined) this.#onClose(end, account, end.ended.at, bytes);
  }

  #onKnock(end: TalkEnd, account: Account, exchange: Exchange, bytes: Uint8Array): void {
    account.initiation ??= String(bytes);
    exchange.knocks += 1;
    if (end.role !== 'caller') this.#violateBy(end, 'knocks');
    if (end.establishedAt !== undefined) this.#violateBy(end, 'knocks in an open talk');
    if (end.ended !== undefined) this.#violateBy(end, 'knocks after the end');
    if (bytes.length !== HANDSHAKE_PACKET_BYTES || exchange.knocks > KNOCKS_MAX)
      this.#violateBy(end, `knocks ${exchange.knocks} times, with ${bytes.length} bytes`);
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
      exchange = { sentBytes: 0, genuineBytes: 0, knocks: 0 };
      exchanges.set(peer, exchange);
    }
    return exchange;
  }

  #accountOf(end: TalkEnd): Account {
    let account = this.#accounts.get(end);
    if (account === undefined) {
      account = { initiation: undefined, closes: 0 };
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
