// From where each terminal was seen: by the STUN server beside the broker, for a record that is its
// own, and by the broker, whose connection it has. What is told of addresses that only a site
// knows, and where a search may go, is held against it.

import type { DeviceId, RecordId } from '../../protocol/ids.ts';
import type { Happening } from '../happenings.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import type { Watcher } from '../world.ts';
import { KeptMap } from './kept-map.ts';
import type { Word, WordHearer } from './spoken.ts';

const KEPT = 20_000;
const NOWHERE: ReadonlySet<string> = new Set();

/** Hosts by terminal, of all times. */
export class SeenFrom implements Watcher, WordHearer {
  readonly #sighted = new KeptMap<RecordId, Set<string>>(KEPT);
  readonly #owners = new KeptMap<RecordId, VirtualTerminal>(KEPT);
  readonly #byStun = new Map<DeviceId, Set<string>>();
  readonly #byBroker = new Map<DeviceId, Set<string>>();

  byStun(id: DeviceId): ReadonlySet<string> {
    return this.#byStun.get(id) ?? NOWHERE;
  }

  byBroker(id: DeviceId): ReadonlySet<string> {
    return this.#byBroker.get(id) ?? NOWHERE;
  }

  /** Whether two were ever seen at one address. */
  areTogether(a: DeviceId, b: DeviceId): boolean {
    const [own, others] = [a, b].map((id) => new Set([...this.byStun(id), ...this.byBroker(id)]));
    for (const host of own) if (others.has(host)) return true;
    return false;
  }

  onHappening(happening: Happening): void {
    if (happening.kind === 'sighted') {
      const { record, from } = happening;
      const hosts = this.#sighted.get(record) ?? new Set();
      this.#sighted.set(record, hosts.add(from.host));
      const owner = this.#owners.get(record);
      if (owner !== undefined) addTo(this.#byStun, owner.id, [from.host]);
    } else if (happening.kind === 'loggedIn' && happening.party !== 'manager') {
      const { seenAt } = happening.party.connection ?? {};
      if (seenAt !== undefined) addTo(this.#byBroker, happening.party.id, [seenAt]);
    }
  }

  onWord({ how, machine, message }: Word): void {
    if (how !== 'published' || message.kind !== 'address' || machine === undefined) return;
    this.#owners.set(message.record, machine);
    addTo(this.#byStun, machine.id, this.#sighted.get(message.record) ?? []);
  }
}

function addTo(sets: Map<DeviceId, Set<string>>, id: DeviceId, hosts: Iterable<string>): void {
  let set = sets.get(id);
  if (set === undefined) sets.set(id, (set = new Set()));
  for (const host of hosts) set.add(host);
}
