// The manager's ends of the sealed channels (design §3, protocol/control/seal.ts): of each terminal
// the one in use, the one before it, and one that is not believed yet. A hello can be replayed, so
// it displaces nothing: what it makes waits until a `register` has come through it. Who has lost
// its channel, or talks in one that we have lost, is told to shake hands again.

import { sameBytes } from '../protocol/bytes.ts';
import type { Message, MessageOf } from '../protocol/control/messages.ts';
import { type SealedChannel, answerHello } from '../protocol/control/seal.ts';
import type { CryptoSuite, DhKey } from '../protocol/crypto.ts';
import { type DeviceId, type RequestId, randomRequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { Rng } from '../protocol/random.ts';
import { type Micros, after, ms, seconds } from '../protocol/time.ts';
import { MANAGER_LIMITS } from './limits.ts';
import type { ManagerCounts } from './manager-types.ts';

/** One sealed channel as the manager keeps it. */
export interface Line {
  readonly channel: SealedChannel;
  /** The process behind it, as its `register` said; undefined: not believed yet. */
  boot: RequestId | undefined;
}

/** What came through a channel: genuine, and for the first time. */
interface Heard {
  readonly line: Line;
  /** The encoded message inside. */
  readonly bytes: Uint8Array;
}

/** A channel that a hello made, and how to answer that very hello again. */
interface PendingLine extends Line {
  readonly hello: MessageOf<'hello'>;
  readonly welcome: MessageOf<'welcome'>;
}

/** At most LIMITS.channelsPerDeviceMax lines: these three. */
interface Peer {
  /** Confirmed last; everything is sent through it. */
  current: Line | undefined;
  /** Confirmed before, by the same process: what is on its way is still opened. */
  former: Line | undefined;
  pending: PendingLine | undefined;
  /** When it may be told `reseal` again. */
  resealFrom: Micros;
  /** Hellos since `countedFrom`. */
  hellos: number;
  countedFrom: Micros;
}

interface ChannelOptions {
  readonly suite: CryptoSuite;
  readonly rng: Rng;
  /** The manager's X25519 key. */
  readonly localKey: DhKey;
  readonly counts: ManagerCounts;
  /** Publishes a message, as it is, on a terminal's `down` topic. */
  readonly sendPlain: (device: DeviceId, message: Message) => void;
}

/** The channels of all terminals; nothing of them is on disk. */
export class Channels {
  readonly #options: ChannelOptions;
  /** Of enrolled terminals only: LIMITS.devicesMax bounds it. */
  readonly #peers = new Map<DeviceId, Peer>();

  constructor(options: ChannelOptions) {
    this.#options = options;
  }

  /**
   * Answers a hello of an enrolled terminal. Repeated, it gets the welcome that it had; a new one
   * replaces what an earlier one made, if nothing has come through that yet. More than
   * MANAGER_LIMITS.hellosPerSecondMax are dropped: each costs key agreements.
   */
  onHello(
    now: Micros,
    device: { readonly id: DeviceId; readonly keys: { readonly x25519: Uint8Array } },
    hello: MessageOf<'hello'>,
  ): void {
    const { suite, rng, localKey, counts, sendPlain } = this.#options;
    const peer = this.#peer(now, device.id);
    if (!isWithinRate(now, peer)) {
      counts.overBound += 1;
      return;
    }
    if (peer.pending !== undefined && isSameHello(peer.pending.hello, hello)) {
      sendPlain(device.id, peer.pending.welcome);
      return;
    }
    const isKnown = [peer.current, peer.former].some(
      (line) => line !== undefined && sameBytes(line.channel.id, hello.channel),
    );
    const deviceKey = device.keys.x25519;
    const answered = isKnown
      ? undefined
      : answerHello({ suite, rng, device: device.id, deviceKey, localKey }, hello);
    if (answered === undefined) {
      counts.unopened += 1;
      return;
    }
    const { welcome, channel } = answered;
    peer.pending = { channel, boot: undefined, hello, welcome };
    sendPlain(device.id, welcome);
  }

  /**
   * Opens what an enrolled terminal sealed. Of a channel that is not ours any more, or never was,
   * the terminal is told, at most once in LIMITS.resealPauseMs; what is forged, or came before, is
   * counted only. A line through which nothing has come yet may have been made of an old hello that
   * somebody repeated, under the name of a channel that lives at the terminal: of that it is told.
   */
  open(now: Micros, device: DeviceId, sealed: MessageOf<'sealed'>): Heard | undefined {
    const { counts } = this.#options;
    const peer = this.#peer(now, device);
    const lines = [peer.current, peer.pending, peer.former];
    const line = lines.find((one) => one && sameBytes(one.channel.id, sealed.channel));
    const bytes = line?.channel.open(sealed);
    if (line !== undefined && bytes !== undefined) return { line, bytes };
    counts.unopened += 1;
    if (line === undefined || line === peer.pending) this.#reseal(now, device, peer);
    return undefined;
  }

  /** Asks an enrolled terminal without a channel to make one, as often as `open` would. */
  invite(now: Micros, device: DeviceId): void {
    const peer = this.#peer(now, device);
    if (peer.current === undefined) this.#reseal(now, device, peer);
  }

  #reseal(now: Micros, device: DeviceId, peer: Peer): void {
    if (now < peer.resealFrom) return;
    peer.resealFrom = after(now, ms(LIMITS.resealPauseMs));
    const { rng, sendPlain } = this.#options;
    sendPlain(device, { kind: 'reseal', request: randomRequestId(rng) });
  }

  /** Whether what comes through this line is obeyed: its process has registered, is in charge. */
  isObeyed(device: DeviceId, line: Line): boolean {
    const peer = this.#peers.get(device);
    return peer !== undefined && (line === peer.current || line === peer.former);
  }

  /**
   * The process `boot` has registered through this line and is in charge. True if the line is new:
   * then everything open has to be told again in it. Lines of another process are closed: whoever
   * still talks in them has to shake hands anew, which only a process that lives can do.
   */
  confirm(device: DeviceId, line: Line, boot: RequestId): boolean {
    const peer = this.#peers.get(device);
    if (peer === undefined || line !== peer.pending) return false;
    line.boot = boot;
    peer.former = peer.current?.boot === boot ? peer.current : undefined;
    // Without what only a pending line needs.
    peer.current = { channel: line.channel, boot };
    peer.pending = undefined;
    return true;
  }

  /** Closes one line that is not believed: its process is refused. */
  refuse(device: DeviceId, line: Line): void {
    const peer = this.#peers.get(device);
    if (peer?.pending === line) peer.pending = undefined;
    if (peer?.current === line) peer.current = undefined;
    if (peer?.former === line) peer.former = undefined;
  }

  /** Closes all lines of a terminal. */
  close(device: DeviceId): void {
    this.#peers.delete(device);
  }

  /** Seals an encoded message for a terminal; undefined if it has no channel. */
  seal(device: DeviceId, message: Uint8Array): Uint8Array | undefined {
    return this.#peers.get(device)?.current?.channel.seal(message);
  }

  #peer(now: Micros, device: DeviceId): Peer {
    const known = this.#peers.get(device);
    if (known !== undefined) return known;
    const peer: Peer = {
      current: undefined,
      former: undefined,
      pending: undefined,
      resealFrom: now,
      hellos: 0,
      countedFrom: now,
    };
    this.#peers.set(device, peer);
    return peer;
  }
}

function isSameHello(a: MessageOf<'hello'>, b: MessageOf<'hello'>): boolean {
  return a.request === b.request && sameBytes(a.channel, b.channel) && sameBytes(a.noise, b.noise);
}

/** Counts a hello; false if there were too many within one second. */
function isWithinRate(now: Micros, peer: Peer): boolean {
  if (now >= after(peer.countedFrom, seconds(1))) {
    peer.countedFrom = now;
    peer.hellos = 0;
  }
  peer.hellos += 1;
  return peer.hellos <= MANAGER_LIMITS.hellosPerSecondMax;
}
