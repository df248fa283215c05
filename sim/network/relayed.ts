// Looks into what goes between one socket and a TURN server (RFC 8656 §11, §12): which datagram of
// which peer is inside. It believes what it sees from outside: a channel stands for the peer that
// its ChannelBind named.

import type { Path } from '../../protocol/core.ts';
import { ATTRIBUTE, decodeXorAddress } from '../../protocol/stun/attributes.ts';
import { METHOD, type StunMessage, decodeMessage, isStun } from '../../protocol/stun/message.ts';
import type { Paths } from './paths.ts';

const CHANNEL_FIRST = 0x40;
const CHANNEL_LAST = 0x4f;
const CHANNEL_HEADER_BYTES = 4;

/** What a datagram is: a message of STUN, or one of a peer's within a message of TURN. */
type Inside = 'stun' | { readonly peer: Path; readonly bytes: Uint8Array };

/** The channels of one socket. */
export class RelayedView {
  readonly #paths: Paths;
  readonly #channels = new Map<number, Path>();

  constructor(paths: Paths) {
    this.#paths = paths;
  }

  /** Undefined: neither; it is what it looks like. The bytes are a view of the datagram's. */
  look(bytes: Uint8Array): Inside | undefined {
    if (bytes[0] >= CHANNEL_FIRST && bytes[0] <= CHANNEL_LAST) {
      const peer = this.#channels.get((bytes[0] << 8) | bytes[1]);
      const end = CHANNEL_HEADER_BYTES + ((bytes[2] << 8) | bytes[3]);
      if (peer === undefined || end > bytes.length) return undefined;
      return { peer, bytes: bytes.subarray(CHANNEL_HEADER_BYTES, end) };
    }
    if (!isStun(bytes)) return undefined;
    const message = decodeMessage(bytes);
    if (message === undefined) return undefined;
    if (message.stunClass === 'request' && message.method === METHOD.channelBind)
      this.#onBind(message);
    if (message.stunClass !== 'indication') return 'stun';
    const peer = this.#peerOf(message);
    const inside = message.attributes.get(ATTRIBUTE.data);
    return peer === undefined || inside === undefined ? 'stun' : { peer, bytes: inside };
  }

  #onBind(message: StunMessage): void {
    const number = message.attributes.get(ATTRIBUTE.channelNumber);
    const peer = this.#peerOf(message);
    if (number === undefined || number.length < 2 || peer === undefined) return;
    this.#channels.set((number[0] << 8) | number[1], peer);
  }

  #peerOf({ attributes, transaction }: StunMessage): Path | undefined {
    const peer = decodeXorAddress(attributes.get(ATTRIBUTE.xorPeerAddress), transaction);
    return peer === undefined || peer.port === 0 ? undefined : this.#paths.intern(peer);
  }
}
