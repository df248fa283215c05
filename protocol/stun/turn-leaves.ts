// What the relay is asked to let through: a permission for each host, a channel for each peer of
// the talk (RFC 8656 §9, §12). Each is asked for anew before it ends, as long as it is wanted or
// used, and a few times more while the server has an error of its own, which ends nothing that it
// gave before. Before there is an allocation nothing is asked, only remembered.

import type { Path } from '../core.ts';
import { DeadlineHeap } from '../deadlines.ts';
import { type Micros, NEVER, after, micros, seconds } from '../time.ts';
import { ATTRIBUTE, channelValue, encodeXorAddress, isServerError } from './attributes.ts';
import { STUN_LIMITS } from './limits.ts';
import { type Attribute, METHOD } from './message.ts';
import { CHANNEL_FIRST } from './turn-frames.ts';
import { type Leave, TurnPeers } from './turn-peers.ts';
import type { TurnAsk } from './turn-requests.ts';

/** Where it asks. */
interface Requests {
  ask(now: Micros, ask: TurnAsk<Leave>): void;
  forget(leave: Leave): void;
}

/** The permissions and channels of one allocation. */
export class TurnLeaves {
  readonly peers: TurnPeers;
  readonly #requests: Requests;
  readonly #renewals = new DeadlineHeap<Leave>();
  /** Whether the allocation has an address of a host's IP version; undefined: there is none. */
  #takes: ((host: string) => boolean) | undefined;

  /** `via`: endpoint in the paths of peers that are only heard of. */
  constructor(requests: Requests, via: number | undefined) {
    this.#requests = requests;
    this.peers = new TurnPeers(via, (leave) => {
      this.#renewals.stop(leave);
      requests.forget(leave);
    });
  }

  /** There is an allocation: it is asked for what was remembered and `takes` does not refuse. */
  open(now: Micros, takes: (host: string) => boolean): void {
    this.#takes = takes;
    this.peers.keep(takes);
    this.#askFirst(now, this.peers.leaves);
  }

  /** Nothing is asked any more. */
  stop(): void {
    this.#takes = undefined;
    while (this.#renewals.popDue(NEVER) !== undefined);
  }

  /** These hosts are wanted, and no others but the bound peer's. */
  permit(now: Micros, hosts: readonly string[]): void {
    this.#askFirst(
      now,
      this.peers.want(now, hosts, (host) => this.#takes?.(host) !== false),
    );
  }

  /** This is the peer of the talk. RFC 8656 §9.2: one of another IP version would be refused. */
  bind(now: Micros, peer: Path): void {
    if (this.#takes?.(peer.host) !== false) this.#askFirst(now, this.peers.bind(now, peer));
  }

  /** Takes the server's answer. `code`: its error; undefined: it is granted. */
  onAnswer(now: Micros, leave: Leave, code: number | undefined): void {
    const { serverErrorSeconds, serverErrorsMax } = STUN_LIMITS;
    if (code === undefined) {
      const { life, again } = spans(leave);
      leave.until = after(now, seconds(life));
      leave.errors = 0;
      this.#renewals.set(leave, after(now, seconds(again)));
    } else if (!isServerError(code)) {
      leave.until = now;
    } else if (leave.errors < serverErrorsMax) {
      leave.errors += 1;
      this.#renewals.set(leave, after(now, seconds(serverErrorSeconds)));
    } else {
      // What the server gave lives until it ends; whoever wants it asks again.
      leave.errors = 0;
      leave.isAsked = false;
    }
  }

  handleTimeout(now: Micros): void {
    for (let due = this.#renewals.popDue(now); due; due = this.#renewals.popDue(now)) {
      const isUsed = micros(now - due.usedAt) < seconds(spans(due).again);
      if (isUsed || this.peers.isWanted(due)) this.#ask(now, due);
      else due.isAsked = false;
    }
  }

  nextTimeout(): Micros {
    return this.#renewals.next();
  }

  #askFirst(now: Micros, leaves: readonly Leave[]): void {
    if (this.#takes === undefined) return;
    for (const leave of leaves) if (!leave.isAsked) this.#ask(now, leave);
  }

  #ask(now: Micros, leave: Leave): void {
    leave.isAsked = true;
    const isChannel = leave.what === 'channel';
    const peer: Path = isChannel ? leave.peer : { host: leave.host, port: 0 };
    const number = isChannel ? channelValue(CHANNEL_FIRST + leave.index) : undefined;
    this.#requests.ask(now, {
      subject: leave,
      method: isChannel ? METHOD.channelBind : METHOD.createPermission,
      attributes: (transaction): readonly Attribute[] => {
        const address = encodeXorAddress(peer, transaction);
        return [
          ...(number === undefined ? [] : [[ATTRIBUTE.channelNumber, number] as const]),
          ...(address === undefined ? [] : [[ATTRIBUTE.xorPeerAddress, address] as const]),
        ];
      },
    });
  }
}

/** Seconds that it lives, and after which it is asked for again. */
function spans({ what }: Leave): { readonly life: number; readonly again: number } {
  return what === 'channel'
    ? { life: STUN_LIMITS.channelLifeSeconds, again: STUN_LIMITS.channelSeconds }
    : { life: STUN_LIMITS.permissionLifeSeconds, again: STUN_LIMITS.permissionSeconds };
}
