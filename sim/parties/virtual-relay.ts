// A TURN server in virtual time, for terminals that find no other way: Allocate, Refresh,
// CreatePermission, ChannelBind, Send, Data and ChannelData of RFC 8656, with the time-limited
// credentials of coturn's `use-auth-secret`. Over 400 lines: each request with its refusals. Strict
// where a server may be: nothing passes without a permission, none is given for an address that is
// not global, a nonce grows old. It can go away with all that it knew, as a process that is killed,
// and come back knowing nothing.

import { addressBytes, addressScope, isIpv6Text } from '../../protocol/address.ts';
import { asciiBytes } from '../../protocol/bytes.ts';
import type { Path } from '../../protocol/core.ts';
import {
  ATTRIBUTE,
  decodeXorAddress,
  encodeErrorCode,
  encodeXorAddress,
  lifetimeSeconds,
  lifetimeValue,
} from '../../protocol/stun/attributes.ts';
import { relayCredentials } from '../../protocol/stun/credentials.ts';
import { longTermKey } from '../../protocol/stun/integrity.ts';
import {
  type Attribute,
  METHOD,
  type StunMessage,
  TRANSACTION_BYTES,
  decodeMessage,
  encodeMessage,
  hasIntegrity,
} from '../../protocol/stun/message.ts';
import { answerBinding } from '../../protocol/stun/server.ts';
import { type Rng, randomBytes } from '../../protocol/random.ts';
import { MS_PER_SECOND, type Micros, after, seconds } from '../../protocol/time.ts';
import type { RelayService } from '../../session-manager/manager-types.ts';
import type { Host } from '../network/internet.ts';
import type { World } from '../world.ts';
import type { RelayStream } from './relay-stream.ts';

/** Where it is; in TEST-NET-1 and the documentation prefix, as the servers of a world are. */
const RELAY_ADDRESS = '192.0.2.20';
const RELAY_ADDRESS_IPV6 = '2001:db8:ffff::20';
/** IPv4 first, as the addresses of a name are told. */
export const RELAY_ADDRESSES: readonly string[] = [RELAY_ADDRESS, RELAY_ADDRESS_IPV6];
/** Its UDP port (RFC 8656 §4). */
export const RELAY_PORT = 3_478;
/** What it shares with the manager. */
const SECRET = asciiBytes('a secret of the two servers');
const REALM = asciiBytes('relay.example');
const TRANSPORT_UDP = 17;
const LIFETIME_SECONDS = 600;
const LIFETIME_SECONDS_MAX = 3_600;
const PERMISSION_SECONDS = 300;
const CHANNEL_SECONDS = 600;
const CHANNEL_MIN = 0x4000;
const CHANNEL_MAX = 0x4fff;
const CHANNEL_HEADER_BYTES = 4;
const ALLOCATIONS_MAX = 1_024;
const FAMILY_IPV6 = 2;

/** Error codes of RFC 8489 §14.8 and RFC 8656 §19. */
const ERROR = {
  badRequest: 400,
  unauthenticated: 401,
  forbidden: 403,
  mismatch: 437,
  staleNonce: 438,
  family: 440,
  transport: 442,
  peerFamily: 443,
  quota: 486,
} as const;

/** One client's relayed address, and who may use it. */
interface Allocation {
  readonly client: Path;
  /** Its socket at the relay, and where that is reached: of one IP version or of both. */
  readonly relayed: Path;
  readonly addresses: readonly Path[];
  readonly username: string;
  readonly key: Uint8Array;
  expiresAt: Micros;
  /** By host: until when it may send. */
  readonly permissions: Map<string, Micros>;
  readonly channels: Map<number, { readonly peer: Path; until: Micros }>;
  readonly byPeer: Map<Path, number>;
}

/** A request as far as it is understood: what an answer needs. */
interface Asked {
  readonly from: Path;
  readonly bytes: Uint8Array;
  readonly message: StunMessage;
}

/** One relay; off until it is started. */
export class VirtualRelay {
  readonly host: Host;
  /** What the manager knows of it. */
  readonly service: RelayService = {
    servers: () =>
      this.addresses.map((host) => {
        return { address: addressBytes(host) ?? new Uint8Array(0), port: RELAY_PORT };
      }),
    credentials: (username) => relayCredentials(SECRET, username),
  };
  /** Datagrams that were let through, and that were not. */
  readonly counts = { passed: 0, refused: 0 };
  /** Its own: a test leaves one out. */
  addresses = RELAY_ADDRESSES;
  readonly #world: World;
  readonly #rng: Rng;
  readonly #allocations = new Map<Path, Allocation>();
  readonly #byRelayed = new Map<Path, Allocation>();
  /** Clients that came by TCP. */
  readonly #streams = new Map<Path, RelayStream>();
  #socket: Path | undefined;
  #nonce: Uint8Array = new Uint8Array(0);
  #nonceUntil: Micros;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng('relay');
    this.#nonceUntil = world.now;
    const also = { address: RELAY_ADDRESS_IPV6, nats: [] };
    this.host = world.internet.addHost({ name: 'relay', address: RELAY_ADDRESS, also });
    this.host.onDatagram = (to, from, bytes) => this.#onDatagram(to, from, bytes);
  }

  get isUp(): boolean {
    return this.#socket !== undefined;
  }

  /** Allocations that live now. */
  get allocations(): number {
    return this.#allocations.size;
  }

  start(): void {
    this.#socket ??= this.host.bind(RELAY_PORT);
  }

  /** Gone, with every allocation. */
  kill(): void {
    if (this.#socket === undefined) return;
    for (const allocation of this.#allocations.values()) this.#end(allocation);
    this.host.unbind(this.#socket);
    this.#socket = undefined;
    for (const stream of this.#streams.values()) stream.reset();
    this.#streams.clear();
  }

  /** A client connects by TCP; false: nobody is here. */
  accept(stream: RelayStream): boolean {
    if (this.isUp) this.#streams.set(stream.client, stream);
    return this.isUp;
  }

  /** A frame of a client's came by TCP. */
  hear(client: Path, bytes: Uint8Array): void {
    if (this.#streams.has(client) && this.#socket !== undefined)
      this.#onDatagram(this.#socket, client, bytes);
  }

  /** A client has closed its connection: its allocation goes with it (RFC 8656 §3.1). */
  forget(client: Path): void {
    const allocation = this.#find(client);
    if (this.#streams.delete(client) && allocation !== undefined) this.#end(allocation);
  }

  /** From now on every nonce is another one. */
  outdateNonce(): void {
    this.#nonceUntil = this.#world.now;
  }

  #onDatagram(to: Path, from: Path, bytes: Uint8Array): void {
    if (to !== this.#socket) return this.#fromPeer(to, from, bytes);
    if (bytes[0] >= CHANNEL_MIN >> 8 && bytes[0] <= CHANNEL_MAX >> 8)
      return this.#onChannelData(from, bytes);
    const message = decodeMessage(bytes);
    if (message === undefined) return;
    const asked: Asked = { from, bytes, message };
    if (message.stunClass === 'indication') return this.#onSend(asked);
    if (message.stunClass !== 'request') return;
    if (message.method === METHOD.binding) {
      const answer = answerBinding(bytes, from)?.answer;
      if (answer !== undefined) this.#send(from, answer);
      return;
    }
    const user = this.#authenticate(asked);
    if (user === undefined) return;
    switch (message.method) {
      case METHOD.allocate:
        return this.#onAllocate(asked, user);
      case METHOD.refresh:
        return this.#onRefresh(asked, user);
      case METHOD.createPermission:
        return this.#onPermission(asked, user);
      case METHOD.channelBind:
        return this.#onChannel(asked, user);
      default:
        return this.#refuse(asked, ERROR.badRequest);
    }
  }

  // --- who asks ----------------------------------------------------------------------------------

  /** The long-term mechanism (RFC 8489 §9.2.4), with a user name that says until when it holds. */
  #authenticate(asked: Asked): { readonly username: string; readonly key: Uint8Array } | undefined {
    const { attributes } = asked.message;
    const [name, nonce] = [attributes.get(ATTRIBUTE.username), attributes.get(ATTRIBUTE.nonce)];
    const isSigned = attributes.has(ATTRIBUTE.messageIntegrity);
    if (!isSigned) return this.#challenge(asked, ERROR.unauthenticated);
    if (name === undefined || nonce === undefined) return this.#refuse(asked, ERROR.badRequest);
    const username = String.fromCharCode(...name);
    const until = Number(/^(\d+):/.exec(username)?.[1] ?? 0);
    const key = longTermKey(username, REALM, this.service.credentials(username));
    const isKnown = hasIntegrity(asked.bytes, asked.message, key);
    if (!isKnown || until * MS_PER_SECOND <= this.#world.wall)
      return this.#challenge(asked, ERROR.unauthenticated);
    if (!isSame(nonce, this.#freshNonce())) return this.#challenge(asked, ERROR.staleNonce);
    const own = this.#find(asked.from);
    // RFC 8656 §7.2: somebody else's five-tuple.
    if (own !== undefined && own.username !== username) return this.#refuse(asked, 441);
    return { username, key };
  }

  #freshNonce(): Uint8Array {
    const { now } = this.#world;
    if (now >= this.#nonceUntil) {
      this.#nonce = asciiBytes(hexOf(randomBytes(this.#rng, 8)));
      this.#nonceUntil = after(now, seconds(LIFETIME_SECONDS));
    }
    return this.#nonce;
  }

  #challenge(asked: Asked, code: number): undefined {
    return this.#refuse(asked, code, [
      [ATTRIBUTE.realm, REALM],
      [ATTRIBUTE.nonce, this.#freshNonce()],
    ]);
  }

  // --- what is asked -----------------------------------------------------------------------------

  #onAllocate(asked: Asked, user: { readonly username: string; readonly key: Uint8Array }): void {
    const { from, message } = asked;
    const { attributes } = message;
    if (this.#find(from) !== undefined) return this.#refuse(asked, ERROR.mismatch);
    if (attributes.get(ATTRIBUTE.requestedTransport)?.[0] !== TRANSPORT_UDP)
      return this.#refuse(asked, ERROR.transport);
    const hosts = this.#relayHosts(attributes);
    if (hosts.length === 0) return this.#refuse(asked, ERROR.family);
    if (this.#allocations.size >= ALLOCATIONS_MAX) return this.#refuse(asked, ERROR.quota);
    const relayed = this.host.bind();
    const addresses = hosts.map((host) => this.#world.internet.paths.of(host, relayed.port));
    const lifetime = this.#lifetime(attributes);
    const allocation: Allocation = {
      client: from,
      relayed,
      addresses,
      ...user,
      expiresAt: this.#in(lifetime),
      permissions: new Map(),
      channels: new Map(),
      byPeer: new Map(),
    };
    this.#allocations.set(from, allocation);
    this.#byRelayed.set(relayed, allocation);
    this.#world.schedule(allocation.expiresAt, () => this.#onTime(allocation));
    this.#accept(asked, user.key, [
      ...addresses.map((one): Attribute => [ATTRIBUTE.xorRelayedAddress, hidden(one, message)]),
      [ATTRIBUTE.xorMappedAddress, hidden(from, message)],
      [ATTRIBUTE.lifetime, lifetimeValue(lifetime)],
    ]);
  }

  /** RFC 8656 §7.2: IPv4, IPv6, or what there is of both. */
  #relayHosts(attributes: StunMessage['attributes']): readonly string[] {
    const asks = (type: number): boolean => attributes.get(type)?.[0] === FAMILY_IPV6;
    if (asks(ATTRIBUTE.additionalAddressFamily)) return this.addresses;
    const isIpv6 = asks(ATTRIBUTE.requestedAddressFamily);
    return this.addresses.filter((host) => isIpv6Text(host) === isIpv6);
  }

  #onRefresh(asked: Asked, user: { readonly key: Uint8Array }): void {
    const allocation = this.#find(asked.from);
    const wanted = lifetimeSeconds(asked.message.attributes.get(ATTRIBUTE.lifetime));
    if (wanted === 0) {
      if (allocation !== undefined) this.#end(allocation);
      return this.#accept(asked, user.key, [[ATTRIBUTE.lifetime, lifetimeValue(0)]]);
    }
    if (allocation === undefined) return this.#refuse(asked, ERROR.mismatch);
    const lifetime = this.#lifetime(asked.message.attributes);
    allocation.expiresAt = this.#in(lifetime);
    this.#accept(asked, user.key, [[ATTRIBUTE.lifetime, lifetimeValue(lifetime)]]);
  }

  #onPermission(asked: Asked, user: { readonly key: Uint8Array }): void {
    const allocation = this.#find(asked.from);
    if (allocation === undefined) return this.#refuse(asked, ERROR.mismatch);
    const peer = this.#peerOf(asked.message);
    if (peer === undefined) return this.#refuse(asked, ERROR.badRequest);
    const refusal = refusalOf(allocation, peer);
    if (refusal !== undefined) return this.#refuse(asked, refusal);
    allocation.permissions.set(peer.host, this.#in(PERMISSION_SECONDS));
    this.#accept(asked, user.key, []);
  }

  #onChannel(asked: Asked, user: { readonly key: Uint8Array }): void {
    const allocation = this.#find(asked.from);
    if (allocation === undefined) return this.#refuse(asked, ERROR.mismatch);
    const peer = this.#peerOf(asked.message);
    const value = asked.message.attributes.get(ATTRIBUTE.channelNumber);
    const channel = value?.length === 4 ? (value[0] << 8) | value[1] : 0;
    const isFit = channel >= CHANNEL_MIN && channel <= CHANNEL_MAX;
    if (peer === undefined || peer.port === 0 || !isFit)
      return this.#refuse(asked, ERROR.badRequest);
    // RFC 8656 §12.2: neither is bound to something else.
    const bound = allocation.channels.get(channel);
    const isElsewhere = (allocation.byPeer.get(peer) ?? channel) !== channel;
    if (isElsewhere || (bound !== undefined && bound.peer !== peer))
      return this.#refuse(asked, ERROR.badRequest);
    const refusal = refusalOf(allocation, peer);
    if (refusal !== undefined) return this.#refuse(asked, refusal);
    allocation.channels.set(channel, { peer, until: this.#in(CHANNEL_SECONDS) });
    allocation.byPeer.set(peer, channel);
    allocation.permissions.set(peer.host, this.#in(PERMISSION_SECONDS));
    this.#accept(asked, user.key, []);
  }

  // --- what passes -------------------------------------------------------------------------------

  #onSend({ from, message }: Asked): void {
    const allocation = this.#find(from);
    const peer = this.#peerOf(message);
    const data = message.attributes.get(ATTRIBUTE.data);
    if (message.method !== METHOD.send || allocation === undefined) return;
    if (peer === undefined || peer.port === 0 || data === undefined) return;
    this.#toPeer(allocation, peer, data);
  }

  #onChannelData(from: Path, bytes: Uint8Array): void {
    const allocation = this.#find(from);
    if (allocation === undefined || bytes.length < CHANNEL_HEADER_BYTES) return;
    const bound = allocation.channels.get((bytes[0] << 8) | bytes[1]);
    const length = (bytes[2] << 8) | bytes[3];
    const isWhole = CHANNEL_HEADER_BYTES + length <= bytes.length;
    if (bound === undefined || this.#world.now >= bound.until || !isWhole) {
      this.counts.refused += 1;
      return;
    }
    const data = bytes.subarray(CHANNEL_HEADER_BYTES, CHANNEL_HEADER_BYTES + length);
    this.#toPeer(allocation, bound.peer, data);
  }

  #toPeer(allocation: Allocation, peer: Path, data: Uint8Array): void {
    if (!this.#isPermitted(allocation, peer)) {
      this.counts.refused += 1;
      return;
    }
    this.counts.passed += 1;
    this.host.send(allocation.relayed, peer, data);
  }

  #fromPeer(relayed: Path, peer: Path, bytes: Uint8Array): void {
    const allocation = this.#byRelayed.get(relayed);
    if (allocation === undefined || !this.#isPermitted(allocation, peer)) {
      this.counts.refused += 1;
      return;
    }
    this.counts.passed += 1;
    const channel = allocation.byPeer.get(peer);
    const bound = channel === undefined ? undefined : allocation.channels.get(channel);
    if (channel !== undefined && bound !== undefined && this.#world.now < bound.until) {
      const framed = new Uint8Array(CHANNEL_HEADER_BYTES + bytes.length);
      framed.set([channel >> 8, channel, bytes.length >> 8, bytes.length]);
      framed.set(bytes, CHANNEL_HEADER_BYTES);
      return this.#send(allocation.client, framed);
    }
    const transaction = randomBytes(this.#rng, TRANSACTION_BYTES);
    const address = encodeXorAddress(peer, transaction);
    if (address === undefined) return;
    const attributes: readonly Attribute[] = [
      [ATTRIBUTE.xorPeerAddress, address],
      [ATTRIBUTE.data, bytes],
    ];
    const method = METHOD.data;
    const content = { stunClass: 'indication', method, transaction, attributes } as const;
    this.#send(allocation.client, encodeMessage(content));
  }

  #isPermitted({ permissions }: Allocation, peer: Path): boolean {
    const until = permissions.get(peer.host);
    return until !== undefined && this.#world.now < until;
  }

  // --- ------------------------------------------------------------------------------------------

  #find(client: Path): Allocation | undefined {
    return this.#allocations.get(client);
  }

  #peerOf({ attributes, transaction }: StunMessage): Path | undefined {
    const peer = decodeXorAddress(attributes.get(ATTRIBUTE.xorPeerAddress), transaction);
    if (peer === undefined) return undefined;
    return peer.port === 0 ? peer : this.#world.internet.paths.intern(peer);
  }

  #lifetime(attributes: StunMessage['attributes']): number {
    const wanted = lifetimeSeconds(attributes.get(ATTRIBUTE.lifetime)) ?? LIFETIME_SECONDS;
    return Math.min(LIFETIME_SECONDS_MAX, Math.max(LIFETIME_SECONDS, wanted));
  }

  #in(lifetime: number): Micros {
    return after(this.#world.now, seconds(lifetime));
  }

  /** Over, unless it was refreshed meanwhile. */
  #onTime(allocation: Allocation): void {
    if (this.#allocations.get(allocation.client) !== allocation) return;
    if (this.#world.now >= allocation.expiresAt) this.#end(allocation);
    else this.#world.schedule(allocation.expiresAt, () => this.#onTime(allocation));
  }

  #end(allocation: Allocation): void {
    this.#allocations.delete(allocation.client);
    this.#byRelayed.delete(allocation.relayed);
    this.host.unbind(allocation.relayed);
  }

  #accept(asked: Asked, key: Uint8Array, attributes: readonly Attribute[]): void {
    const { method, transaction } = asked.message;
    this.#send(
      asked.from,
      encodeMessage({ stunClass: 'success', method, transaction, attributes, key }),
    );
  }

  #refuse(asked: Asked, code: number, more: readonly Attribute[] = []): undefined {
    const { method, transaction } = asked.message;
    const attributes: readonly Attribute[] = [
      [ATTRIBUTE.errorCode, encodeErrorCode(code, 'no')],
      ...more,
    ];
    this.#send(asked.from, encodeMessage({ stunClass: 'error', method, transaction, attributes }));
    return undefined;
  }

  #send(to: Path, bytes: Uint8Array): void {
    const stream = this.#streams.get(to);
    if (stream !== undefined) stream.deliver(bytes);
    else if (this.#socket !== undefined) this.host.send(this.#socket, to, bytes);
  }
}

/** Why an allocation may not send to a peer (RFC 8656 §9.2): its IP version, or where it is. */
function refusalOf({ addresses }: Allocation, { host }: Path): number | undefined {
  const isSame = addresses.some((own) => isIpv6Text(own.host) === isIpv6Text(host));
  if (!isSame) return ERROR.peerFamily;
  const address = addressBytes(host);
  const isGlobal = address !== undefined && addressScope(address) === 'global';
  return isGlobal ? undefined : ERROR.forbidden;
}

function hidden(path: Path, { transaction }: StunMessage): Uint8Array {
  return encodeXorAddress(path, transaction) ?? new Uint8Array(0);
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, at) => byte === b[at]);

const hexOf = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
