// What an MQTT.js client of ours may keep: nothing of what it publishes, and of what it is sent no
// more than a packet of ours. Our brokers never send more (ADR 0006); another one is left.

import type { Duplex } from 'node:stream';
import { type IStore, type MqttClient, Store } from 'mqtt';
import { IO_LIMITS } from './limits.ts';

/** Keeps nothing: of QoS 0 there is nothing to keep. */
class NoStore extends Store {
  override put(...[, done]: Parameters<Store['put']>): this {
    done?.();
    return this;
  }

  override close(...[done]: Parameters<Store['close']>): void {
    done?.();
  }
}
/** One for all links. */
export const NO_STORE: IStore = new NoStore();

/**
 * MQTT.js keeps what it is sent of a packet until it is whole, up to 256 MiB, and of QoS 2 until it
 * is released. Our brokers do neither (ADR 0006): one that does is left. `onPacket`: one was whole.
 */
export function boundIncoming(client: MqttClient, stream: Duplex, onPacket: () => void): void {
  let unparsed = 0;
  stream.on('data', (chunk: Uint8Array) => {
    unparsed += chunk.length;
    if (unparsed > IO_LIMITS.linkUnparsedBytesMax) stream.destroy();
  });
  client.on('packetreceive', (packet) => {
    unparsed = 0;
    onPacket();
    if (packet.cmd === 'publish' && packet.qos !== 0) stream.destroy();
  });
}
