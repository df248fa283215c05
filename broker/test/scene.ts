// A broker with a STUN server of two ports and one caller, in virtual time: for the tests of what
// that server sees, and of what a record's candidates become.

import type { Candidate, FoundAddress, Message } from '../../protocol/control/messages.ts';
import { QUERY_TOPIC, topic } from '../../protocol/control/topics.ts';
import type { RecordId } from '../../protocol/ids.ts';
import type { Sighting } from '../sightings.ts';
import {
  CALLER,
  HERE,
  MANAGER,
  type Published,
  VirtualBroker,
  query,
  recordOf,
  requestOf,
} from './virtual-broker.ts';

export const HOME = Uint8Array.of(203, 0, 113, 7);
export const HOME6 = Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7);
export const STUN = 3478;
export const OTHER = 3479;
export const RECORD = recordOf(1);
export const REQUEST = requestOf(1);

export const gathering = (
  record: RecordId = RECORD,
  candidates: readonly Candidate[] = [HERE],
): Message => ({
  kind: 'address',
  record,
  candidates,
  gathering: true,
});
export const gathered = (...candidates: Candidate[]): Message => ({
  kind: 'address',
  record: RECORD,
  candidates,
  gathering: false,
});
export const reflexive = (address: Uint8Array, port: number): Candidate => ({
  address,
  port,
  type: 'reflexive',
});

/** A broker with a STUN server of two ports, and a caller whose connection comes from `seenAt`. */
export class Scene {
  readonly broker = new VirtualBroker({}, 2);

  constructor(seenAt: Uint8Array | undefined = HOME) {
    this.broker.give({
      kind: 'connected',
      device: CALLER,
      ...(seenAt === undefined ? {} : { seenAt }),
    });
  }

  ask(waitMs?: number): Published[] {
    return this.broker.tell(MANAGER, QUERY_TOPIC, query(REQUEST, [[CALLER, RECORD]], waitMs));
  }

  record(message: Message = gathering()): Published[] {
    return this.broker.tell(CALLER, topic('address', CALLER), message);
  }

  see(serverPort: number, sighting: Partial<Sighting> = {}, record = RECORD): Published[] {
    return this.broker.give({
      kind: 'sighted',
      record,
      address: HOME,
      port: 40_000,
      serverPort,
      ...sighting,
    });
  }

  /** What a query finds now, at once. */
  found(): FoundAddress | undefined {
    const request = requestOf(99);
    const asked = query(request, [[CALLER, RECORD]], 0);
    const [said] = this.broker.tell(MANAGER, QUERY_TOPIC, asked);
    return said.message?.kind === 'addressAnswer' ? said.message.found[0] : undefined;
  }
}
