// The STUN server beside the broker in virtual time: the answers are the real core's, on two ports
// of the servers' host (protocol/stun/server.ts); which record was seen from where goes to whoever
// asked for it. It is silent while the broker is off, as they are one process.

import type { Path } from '../../protocol/core.ts';
import type { RecordId } from '../../protocol/ids.ts';
import { answerBinding } from '../../protocol/stun/server.ts';
import type { Host, Internet } from '../network/internet.ts';

/** Where the servers are, in TEST-NET-1 and the documentation prefix (RFC 5737, RFC 3849). */
const SERVER_ADDRESS = '192.0.2.10';
const SERVER_ADDRESS_IPV6 = '2001:db8:ffff::10';
/** Ports of the STUN server (RFC 8489 §18.6). */
export const STUN_PORTS = { first: 3_478, other: 3_479 } as const;

/** An address record that its terminal has named, and where the request came from. */
export interface Sighting {
  readonly record: RecordId;
  readonly from: Path;
  /** The port of ours that it came to. */
  readonly port: number;
}

/** Both ports. */
export class VirtualStun {
  readonly host: Host;
  readonly #isUp: () => boolean;
  readonly #onSighting: (sighting: Sighting) => void;

  constructor(options: {
    readonly internet: Internet;
    readonly isUp: () => boolean;
    readonly onSighting: (sighting: Sighting) => void;
  }) {
    this.#isUp = options.isUp;
    this.#onSighting = options.onSighting;
    this.host = options.internet.addHost({
      name: 'servers',
      address: SERVER_ADDRESS,
      also: { address: SERVER_ADDRESS_IPV6, nats: [] },
    });
    for (const port of Object.values(STUN_PORTS)) this.host.bind(port);
    this.host.onDatagram = (to, from, bytes) => this.#onDatagram(to, from, bytes);
  }

  /** By which address a host reaches it: what its MQTT connection goes to. */
  addressFor(host: Host): string {
    const [place] = this.host.places.filter(({ address }) => host.placeFor(address)?.host === host);
    return place.address;
  }

  #onDatagram(to: Path, from: Path, bytes: Uint8Array): void {
    if (!this.#isUp()) return;
    const reply = answerBinding(bytes, from);
    if (reply === undefined) return;
    if (reply.answer !== undefined) this.host.send(to, from, reply.answer);
    if (reply.record !== undefined) this.#onSighting({ record: reply.record, from, port: to.port });
  }
}
