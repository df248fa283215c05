// Memory: what a party holds stays under its stated bound, and one event brings about only so much.
// Looked at every so many events that touched a party: what grows without a bound goes on growing.

import { MEETING_LIMITS } from '../../device/meeting/limits.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { VirtualBroker } from '../parties/virtual-broker.ts';
import { VirtualManager } from '../parties/virtual-manager.ts';
import { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';

const LOOK_EVERY = 64;
/** Datagrams that one event may set free: a full window of a fast path. */
const DATAGRAMS_PER_EVENT_MAX = 20_000;
/** Of a terminal: one for each call and each answer, a talk's further ones, those of one search. */
const SOCKETS_MAX =
  (3 + MEETING_LIMITS.relayEndpointsMax) * LIMITS.callsMax + MEETING_LIMITS.searchSockets;

/** Sizes of all parties, from their own figures and from what the world holds for them. */
export class Memory implements Watcher {
  readonly #world: World;
  readonly #touches = new Map<unknown, number>();
  #published = 0;
  #datagrams = 0;

  constructor(world: World) {
    this.#world = world;
  }

  onHappening({ kind }: Happening): void {
    if (kind === 'datagramSent') this.#datagrams += 1;
    else if (kind === 'published') this.#published += 1;
  }

  afterEvent(touched: ReadonlySet<unknown>): void {
    this.#most('datagrams of one event', this.#datagrams, DATAGRAMS_PER_EVENT_MAX);
    this.#most('messages of one event', this.#published, LIMITS.outputsMax);
    this.#datagrams = 0;
    this.#published = 0;
    for (const party of touched) {
      const times = (this.#touches.get(party) ?? 0) + 1;
      this.#touches.set(party, times);
      if (times % LOOK_EVERY === 0) this.#look(party);
    }
  }

  #look(party: unknown): void {
    if (party instanceof VirtualTerminal) this.#lookAtTerminal(party);
    else if (party instanceof VirtualBroker) this.#lookAtBroker(party);
    else if (party instanceof VirtualManager) this.#lookAtManager(party);
  }

  #lookAtTerminal(terminal: VirtualTerminal): void {
    const { name, core, sockets } = terminal;
    const status = core?.status(terminal.clock.local(this.#world.now));
    if (status === undefined) return;
    this.#most(`sockets of ${name}`, sockets.length, SOCKETS_MAX);
    this.#most(`calls of ${name}`, status.calls.length, LIMITS.callsMax);
    this.#most(`talks of ${name}`, status.talks.length, LIMITS.callsMax);
    this.#most(`end notices of ${name}`, status.endNotices, LIMITS.endNoticesMax);
    this.#most(`changed peers of ${name}`, status.changedPeers.length, LIMITS.changedPeersMax);
  }

  #lookAtBroker({ core, connections }: VirtualBroker): void {
    if (core === undefined) return;
    const { connected, registered, records, queriesWaiting, triggersWaiting } = core.counters();
    // A clone is no terminal of its own: the same identity, the same seat.
    const devices = this.#world.terminals.length + this.#world.hostile.size;
    const held = connections.filter(({ seat }) => seat?.of === 'terminal').length;
    this.#most('terminals that the broker takes for connected', connected, held);
    this.#most('terminals that the broker knows', registered, devices);
    this.#most('address records', records, LIMITS.recordsPerDeviceMax * devices);
    this.#most('queries waiting', queriesWaiting, LIMITS.introductionsPerCallerMax * devices);
    this.#most('triggers waiting', triggersWaiting, LIMITS.triggersPerDeviceMax * devices);
  }

  #lookAtManager({ core, tables }: VirtualManager): void {
    if (core === undefined) return;
    const open = core.sessions('open').length;
    this.#most('open sessions', open, LIMITS.sessionsMax);
    const devices = this.#world.terminals.length + this.#world.hostile.size;
    this.#most('devices', tables.get('devices')?.size ?? 0, devices);
    this.#most('names', tables.get('names')?.size ?? 0, devices);
  }

  #most(what: string, count: number, most: number): void {
    if (count > most) this.#world.violate('memory', `${what}: ${count} of at most ${most}`);
  }
}
