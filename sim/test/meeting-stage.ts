// Two terminals at places of a test's choice, with the real cores of everybody and every invariant
// on: one calls the other, and what became of it, how and when. 25 ms each way between them, most
// of it between their boxes, and 25 ms each way of either to the broker.

import type { PathClass } from '../../protocol/address.ts';
import type { CryptoSuite } from '../../protocol/crypto.ts';
import type { EndReason } from '../../protocol/ends.ts';
import type { SessionId } from '../../protocol/ids.ts';
import { MICROS_PER_MS, after, ms, seconds } from '../../protocol/time.ts';
import type { MeetingReport, TerminalEvent } from '../../device/terminal-types.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import { watchersOf } from '../invariants/all.ts';
import { PLACES, type PlaceName } from '../lab/pair-table.ts';
import { Channel } from '../network/channel.ts';
import type { Attachment } from '../network/host.ts';
import { NAT_KINDS, Nat, type NatBehaviour } from '../network/nat.ts';
import { CALM, type Options } from '../options.ts';
import { channelFaults } from '../places.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import { World } from '../world.ts';

const WAY_MS = 25;
/** Of the way, on either access link. */
const LINK_MS = 2.5;
const GRANT_SECONDS = 60;

/** Makes the place of one of the two; boxes and channels are the stage's to make. */
export type PlaceMaker = (stage: {
  readonly world: World;
  readonly side: number;
  /** A box of that kind, with an address that is its own. */
  readonly box: (kind: keyof typeof NAT_KINDS, more?: Partial<NatBehaviour>) => Nat;
  /** The same box for both sides. */
  readonly shared: (name: string, make: () => Nat) => Nat;
}) => Attachment;

/** What a meeting is to be like. */
interface Wanted {
  readonly places: readonly [PlaceMaker, PlaceMaker];
  readonly seed?: number;
  readonly set?: Partial<Options>;
  readonly suite?: CryptoSuite;
}

/** What one end has been told. */
interface EndSeen {
  session: SessionId | undefined;
  introducedAt: number | undefined;
  establishedAt: number | undefined;
  /** The way now, and since when. */
  way: PathClass | undefined;
  wayAt: number | undefined;
  /** Every class that it has gone. */
  readonly ways: PathClass[];
  readonly searchedAt: string[];
  readBytes: number;
  firstReadAt: number | undefined;
  ended: EndReason | undefined;
  meeting: MeetingReport | undefined;
  failed: string | undefined;
}

/** A place behind boxes of those kinds, from the host outward. */
export const behind =
  (place: PlaceName, more: Partial<NatBehaviour> = {}): PlaceMaker =>
  ({ side, box }) => {
    const kinds = PLACES[place];
    const translates = kinds.some((kind) => NAT_KINDS[kind].translates);
    return {
      address: translates ? `192.168.${side}.2` : `203.0.113.${10 + side}`,
      nats: kinds.map((kind) => box(kind, more)),
    };
  };

/** One call between two places. */
export class MeetingStage {
  readonly world: World;
  readonly caller: VirtualTerminal;
  readonly callee: VirtualTerminal;
  readonly ends: Record<'caller' | 'callee', EndSeen> = { caller: unseen(), callee: unseen() };
  calledAt = 0;
  readonly #into = new Uint8Array(65_536);
  readonly #shared = new Map<string, Nat>();
  #boxes = 0;

  constructor({ places, seed = 1, set = {}, suite = fastSuite }: Wanted) {
    const options = { ...CALM, 'udp.delay': 2 * LINK_MS, 'mqtt.delay': WAY_MS, ...set };
    let side = 0;
    this.world = new World({
      seed,
      terminals: 2,
      options,
      suite,
      hearsTraces: true,
      across: ms(WAY_MS - 2 * LINK_MS),
      place: (world, name) => {
        const at = side;
        side += 1;
        const random = (label: string): (() => number) => {
          const rng = world.rng(`${label}/${name}`);
          return () => rng.next() / 2 ** 32;
        };
        const faults = channelFaults(options);
        return {
          ...places[at](this.#tools(world, at, random)),
          up: new Channel(random('up'), faults),
          down: new Channel(random('down'), faults),
        };
      },
    });
    [this.caller, this.callee] = this.world.terminals;
    this.world.permissions.open();
    this.world.watchers.push(...watchersOf(this.world));
    for (const [role, terminal] of [
      ['caller', this.caller],
      ['callee', this.callee],
    ] as const)
      terminal.application = { onEvent: (_, event) => this.#onEvent(role, event) };
    this.world.open();
  }

  /** The caller calls; time passes until `isDone`, at most that long. */
  call(lasts: number, isDone: () => boolean = () => this.isOpen || this.isOver): this {
    this.calledAt = this.world.now;
    this.caller.call({
      callee: this.callee.name,
      service: 'pipe',
      want: { seconds: GRANT_SECONDS },
      waitMs: 5_000,
      extend: false,
    });
    return this.pass(lasts, isDone);
  }

  /** Milliseconds, or less. */
  pass(milliseconds: number, isDone: () => boolean = () => false): this {
    this.world.run(after(this.world.now, ms(milliseconds)), isDone);
    return this;
  }

  /** Both ends talk. */
  get isOpen(): boolean {
    const { caller, callee } = this.ends;
    return caller.establishedAt !== undefined && callee.establishedAt !== undefined;
  }

  get isOver(): boolean {
    const { caller } = this.ends;
    return caller.ended !== undefined || caller.failed !== undefined;
  }

  /** The way that both ends go now, if they agree. */
  get way(): PathClass | undefined {
    const { caller, callee } = this.ends;
    return caller.way === callee.way ? caller.way : undefined;
  }

  /** Milliseconds from the notice to both ends' talk; Infinity: not yet. */
  get tookMs(): number {
    const { caller, callee } = this.ends;
    const from = Math.min(caller.introducedAt ?? Infinity, callee.introducedAt ?? Infinity);
    const until = Math.max(caller.establishedAt ?? Infinity, callee.establishedAt ?? Infinity);
    return (until - from) / MICROS_PER_MS;
  }

  /** Milliseconds from the call to the first byte of the caller's at the callee. */
  get firstByteMs(): number {
    return ((this.ends.callee.firstReadAt ?? Infinity) - this.calledAt) / MICROS_PER_MS;
  }

  /** Writes at the caller, on a stream of its own; how much it took. */
  write(bytes: number): number {
    const { session } = this.ends.caller;
    const stream = session && this.caller.openStream(session);
    if (session === undefined || stream === undefined) return 0;
    return this.caller.write(session, stream, new Uint8Array(bytes));
  }

  /** A stream of the caller's that goes on: `every` so many milliseconds a few bytes. */
  trickle(everyMs: number): void {
    const { session } = this.ends.caller;
    const stream = session && this.caller.openStream(session);
    if (session === undefined || stream === undefined) return;
    const more = (): void => {
      if (this.caller.talk(session) === undefined) return;
      this.caller.write(session, stream, new Uint8Array(100));
      this.world.schedule(after(this.world.now, ms(everyMs)), more);
    };
    more();
  }

  #tools(
    world: World,
    side: number,
    random: (label: string) => () => number,
  ): Parameters<PlaceMaker>[0] {
    const box = (kind: keyof typeof NAT_KINDS, more: Partial<NatBehaviour> = {}): Nat => {
      const number = this.#boxes;
      this.#boxes += 1;
      const behaviour = { ...NAT_KINDS[kind], ...more };
      return new Nat({
        behaviour,
        addresses: behaviour.translates ? [`198.18.${number}.1`, `198.18.${number}.2`] : [],
        random: random(`box ${number}`),
        paths: world.internet.paths,
      });
    };
    const shared = (name: string, make: () => Nat): Nat => {
      const known = this.#shared.get(name) ?? make();
      this.#shared.set(name, known);
      return known;
    };
    return { world, side, box, shared };
  }

  #onEvent(role: 'caller' | 'callee', event: TerminalEvent): void {
    const end = this.ends[role];
    const { now } = this.world;
    switch (event.kind) {
      case 'callFailed':
        end.failed = event.why;
        return;
      case 'introduced':
        end.session = event.session;
        end.introducedAt = now;
        return;
      case 'way':
        end.way = event.class;
        end.wayAt = now;
        end.ways.push(event.class);
        return;
      case 'searching':
        end.searchedAt.push(event.address);
        return;
      case 'ended':
        end.ended = event.reason;
        end.meeting = event.meeting;
        return;
      case 'talk':
        if (event.event.kind === 'established') {
          end.establishedAt = now;
          if (role === 'caller') this.write(10);
        } else if (event.event.kind === 'readable') this.#read(role, event.session, event.event);
        return;
      default:
    }
  }

  #read(
    role: 'caller' | 'callee',
    session: SessionId,
    { stream }: { readonly stream: Parameters<VirtualTerminal['read']>[1] },
  ): void {
    const end = this.ends[role];
    for (;;) {
      const count = this[role].read(session, stream, this.#into);
      if (count <= 0) return;
      end.firstReadAt ??= this.world.now;
      end.readBytes += count;
    }
  }
}

const unseen = (): EndSeen => ({
  session: undefined,
  introducedAt: undefined,
  establishedAt: undefined,
  way: undefined,
  wayAt: undefined,
  ways: [],
  searchedAt: [],
  readBytes: 0,
  firstReadAt: undefined,
  ended: undefined,
  meeting: undefined,
  failed: undefined,
});

/** Milliseconds of a generous try. */
export const GENEROUS_MS = seconds(20) / MICROS_PER_MS;
