// Secrets stay where they are: no key and no plaintext of an application in any datagram, on the
// bus, or on the manager's disk. The witness behind every suite knows the keys
// (crypto/witnessed-suite.ts); what applications write and the session keys that the manager makes
// are added here.

import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import type { Word, WordHearer } from './spoken.ts';

/** Of each write its beginning; of a long run the first so many. */
const PLAIN_BYTES = 64;
const PLAINS_MAX = 2_000;
const PLAIN_BYTES_MIN = 16;
/** So many of a seed's datagrams are all looked at, then each eighth, and all handshakes. */
const DATAGRAMS_ALL = 2_000;
const DATAGRAMS_EACH = 8;
const LONG_HEADER = 0x80;

/** Looks for secrets wherever bytes leave a party. */
export class Secrets implements Watcher, WordHearer {
  readonly #world: World;
  #plains = 0;
  #datagrams = 0;

  constructor(world: World) {
    this.#world = world;
  }

  onHappening(happening: Happening): void {
    switch (happening.kind) {
      case 'wrote':
      case 'messageSent':
        return this.#onPlain(happening.bytes);
      case 'datagramSent': {
        const { terminal, bytes } = happening;
        if (this.#world.isRogue(terminal)) return;
        const isEarly = this.#datagrams++ < DATAGRAMS_ALL || (bytes[0] & LONG_HEADER) !== 0;
        if (isEarly || this.#datagrams % DATAGRAMS_EACH === 0)
          this.#look(bytes, `a datagram of ${terminal.name}`);
        return;
      }
      case 'published': {
        const { party, topic, bytes } = happening;
        if (party !== 'manager' && this.#world.isRogue(party)) return;
        return this.#look(bytes, `a message on ${topic}`);
      }
      case 'managerKilled':
        return this.#lookAtDisk();
      case 'killed':
        return this.#look(happening.terminal.membership, `the disk of ${happening.terminal.name}`);
      default:
        return;
    }
  }

  onWord({ how, message }: Word): void {
    if (how === 'sealed' && message.kind === 'addressNotice')
      this.#world.crypto.registerSecret(message.key, 'a session key');
  }

  atEnd(): void {
    this.#lookAtDisk();
  }

  #onPlain(bytes: Uint8Array): void {
    if (bytes.length < PLAIN_BYTES_MIN || this.#plains >= PLAINS_MAX) return;
    this.#plains += 1;
    this.#world.crypto.registerPlain(bytes.subarray(0, PLAIN_BYTES), 'what an application said');
  }

  #lookAtDisk(): void {
    for (const [table, rows] of this.#world.manager.tables)
      for (const bytes of rows.values()) this.#look(bytes, `the manager's table ${table}`);
  }

  #look(bytes: Uint8Array, where: string): void {
    const secret = this.#world.crypto.findSecret(bytes);
    if (secret !== undefined) this.#world.violate('secrets', `${secret} stands in ${where}`);
  }
}
