// The manager's side of the seal as the double in world.ts plays it: it answers hellos, opens what
// terminals say, seals what they are told, and can lose everything as a manager that restarts.

import { decodeMessage } from '../../protocol/control/codec.ts';
import type { Message, MessageOf, PublicKeys } from '../../protocol/control/messages.ts';
import { type SealedChannel, answerHello } from '../../protocol/control/seal.ts';
import type { DhKey } from '../../protocol/crypto.ts';
import type { DeviceId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { type Rng, randomBytes } from '../../protocol/random.ts';

interface Sealing {
  pending: SealedChannel | undefined;
  current: SealedChannel | undefined;
  previous: SealedChannel | undefined;
}

interface Device {
  readonly id: DeviceId;
  readonly keys: PublicKeys;
}

/** Channels of all terminals of a world. */
export class ManagerSeal {
  readonly key: DhKey;
  readonly #rng: Rng;
  #devices = new Map<DeviceId, Sealing>();

  constructor(rng: Rng) {
    this.#rng = rng;
    this.key = nodeSuite.dhKey(randomBytes(rng, 32));
  }

  /** The manager was restarted: no channel is left. */
  lose(): void {
    this.#devices = new Map();
  }

  welcome(device: Device, hello: MessageOf<'hello'>): MessageOf<'welcome'> {
    const answered = answerHello(
      {
        suite: nodeSuite,
        rng: this.#rng,
        device: device.id,
        deviceKey: device.keys.x25519,
        localKey: this.key,
      },
      hello,
    );
    if (answered === undefined) throw new Error('a terminal says genuine hellos');
    this.#of(device).pending = answered.channel;
    return answered.welcome;
  }

  /** What a terminal said; undefined in an unknown channel. `isFirst`: it confirms its channel. */
  open(
    device: Device,
    sealed: MessageOf<'sealed'>,
  ): { readonly message: Message; readonly isFirst: boolean } | undefined {
    const own = this.#of(device);
    const first = own.pending?.open(sealed);
    if (first !== undefined) {
      own.previous = own.current;
      own.current = own.pending;
      own.pending = undefined;
    }
    const opened = first ?? own.current?.open(sealed) ?? own.previous?.open(sealed);
    if (opened === undefined) return undefined;
    const message = decodeMessage(opened);
    if (message === undefined) throw new Error('a terminal seals only messages');
    return { message, isFirst: first !== undefined };
  }

  /** A message sealed in the newest channel; undefined if there is none. */
  seal(device: Device, encoded: Uint8Array): Uint8Array | undefined {
    return this.#of(device).current?.seal(encoded);
  }

  /** The same in the channel before. */
  sealOld(device: Device, encoded: Uint8Array): Uint8Array | undefined {
    return this.#of(device).previous?.seal(encoded);
  }

  #of(device: Device): Sealing {
    const known = this.#devices.get(device.id);
    if (known !== undefined) return known;
    const sealing: Sealing = { pending: undefined, current: undefined, previous: undefined };
    this.#devices.set(device.id, sealing);
    return sealing;
  }
}
