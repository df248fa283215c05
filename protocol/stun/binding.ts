// What address an endpoint has outside: one Binding request to each STUN server, repeated while it
// is silent (RFC 8489 §6.2.1, faster), until all have answered or were given up. Only the server
// that was asked can answer, once, with the 96 random bits of its transaction. A request to our own
// server carries the record ID, so that the broker hears of the address from the server itself.

import { assert } from '../assert.ts';
import { asciiBytes, sameBytes } from '../bytes.ts';
import { type Path, type Transmit, samePath } from '../core.ts';
import { UsageError } from '../errors.ts';
import type { RecordId } from '../ids.ts';
import { type Rng, randomBytes } from '../random.ts';
import { type Micros, NEVER, after, micros, ms } from '../time.ts';
import { ATTRIBUTE, decodeXorAddress } from './attributes.ts';
import { STUN_LIMITS } from './limits.ts';
import {
  ATTRIBUTE_HEADER_BYTES,
  type Attribute,
  METHOD,
  STUN_HEADER_BYTES,
  TRANSACTION_BYTES,
  decodeMessage,
  encodeMessage,
  padded,
} from './message.ts';

/** What is asked, and where. */
interface BindingConfig {
  readonly rng: Rng;
  /** Our own STUN servers: they are told the record. */
  readonly servers: readonly Path[];
  /** Servers of other operators, who have no business with it. Default: none. */
  readonly foreignServers?: readonly Path[];
  /** The address record that the broker is to complete (S1000). */
  readonly record?: RecordId;
}

/** The address under which a server saw the endpoint. */
interface BindingAnswer {
  readonly server: Path;
  /** Without `via`: it is an address of ours, not one to send to. */
  readonly mapped: Path;
}

interface Asked {
  readonly server: Path;
  readonly request: Uint8Array;
  readonly transaction: Uint8Array;
  sent: number;
  /** When it is asked again, or given up; NEVER once it is over. */
  at: Micros;
  mapped: Path | undefined;
}

const FINGERPRINT_ATTRIBUTE_BYTES = 8;

/** The requests of one endpoint; over when every server has answered, refused or been given up. */
export class BindingRequests {
  readonly #asked: readonly Asked[];
  #now = micros(0);

  /** @throws UsageError for more servers than STUN_LIMITS.serversMax. */
  constructor({ rng, servers, foreignServers = [], record }: BindingConfig) {
    if (servers.length + foreignServers.length > STUN_LIMITS.serversMax)
      throw new UsageError('too-many-servers', `more than ${STUN_LIMITS.serversMax} STUN servers`);
    const ask = (server: Path, toldRecord: RecordId | undefined): Asked => {
      const transaction = randomBytes(rng, TRANSACTION_BYTES);
      const request = bindingRequest(transaction, toldRecord);
      return { server, request, transaction, sent: 0, at: this.#now, mapped: undefined };
    };
    this.#asked = [
      ...servers.map((server) => ask(server, record)),
      ...foreignServers.map((server) => ask(server, undefined)),
    ];
  }

  /** Whether nothing more is sent or waited for. */
  get isDone(): boolean {
    return this.#asked.every(({ at }) => at === NEVER);
  }

  /**
   * Whether the NAT gives each destination a mapping of its own: two ports of one host saw
   * different addresses (RFC 4787 §4.1). Undefined until two ports of one host have answered.
   */
  get mappingVaries(): boolean | undefined {
    let varies: boolean | undefined;
    const answers = this.answers();
    for (const [at, { server, mapped }] of answers.entries()) {
      for (const other of answers.slice(at + 1)) {
        if (other.server.host !== server.host || other.server.port === server.port) continue;
        varies = varies === true || !samePath(other.mapped, mapped);
      }
    }
    return varies;
  }

  /** What was answered so far, in the order of the servers. */
  answers(): readonly BindingAnswer[] {
    return this.#asked.flatMap(({ server, mapped }) =>
      mapped === undefined ? [] : [{ server, mapped }],
    );
  }

  /**
   * Takes an answer; false: the datagram is none to a request of ours, whoever sent it. An answer
   * from another source than the server, or a second one, changes nothing. An error, or an answer
   * without an address, means that this server will not tell.
   */
  handleDatagram(now: Micros, path: Path, bytes: Uint8Array): boolean {
    this.#now = now;
    const message = decodeMessage(bytes);
    if (message === undefined || message.method !== METHOD.binding) return false;
    const { stunClass, transaction, attributes } = message;
    if (stunClass !== 'success' && stunClass !== 'error') return false;
    const asked = this.#asked.find((one) => sameBytes(one.transaction, transaction));
    if (asked === undefined) return false;
    if (asked.sent === 0 || asked.at === NEVER || !samePath(path, asked.server)) return true;
    asked.at = NEVER;
    if (stunClass === 'error' || message.unknownRequired.length > 0) return true;
    const mapped = decodeXorAddress(attributes.get(ATTRIBUTE.xorMappedAddress), transaction);
    if (mapped !== undefined && mapped.port > 0) asked.mapped = mapped;
    return true;
  }

  /** Gives up the servers that stayed silent after the last request. */
  handleTimeout(now: Micros): void {
    this.#now = now;
    for (const asked of this.#asked)
      if (asked.at <= now && asked.sent >= STUN_LIMITS.bindingPacketsMax) asked.at = NEVER;
  }

  /** The next request or giving up; an instant that is over while requests wait to be sent. */
  nextTimeout(): Micros {
    let next: Micros = NEVER;
    for (const { at } of this.#asked) if (at < next) next = at;
    return next;
  }

  /** The next request that is due. The first ones are due at once. */
  pollTransmit(now: Micros, into: Uint8Array): Transmit | undefined {
    this.#now = now;
    const { bindingPausesMs, bindingPacketsMax, bindingPatienceMs } = STUN_LIMITS;
    const due = this.#asked.find(({ at, sent }) => at <= now && sent < bindingPacketsMax);
    if (due === undefined) return undefined;
    const pause = bindingPausesMs[Math.min(due.sent, bindingPausesMs.length - 1)];
    due.sent += 1;
    due.at = after(now, ms(due.sent < bindingPacketsMax ? pause : bindingPatienceMs));
    into.set(due.request);
    return { path: due.server, size: due.request.length };
  }
}

/** A Binding request of STUN_LIMITS.bindingRequestBytes: record, filling, FINGERPRINT. */
function bindingRequest(transaction: Uint8Array, record: RecordId | undefined): Uint8Array {
  const attributes: Attribute[] = [];
  let room = STUN_LIMITS.bindingRequestBytes - STUN_HEADER_BYTES - FINGERPRINT_ATTRIBUTE_BYTES;
  if (record !== undefined) {
    const value = asciiBytes(record);
    attributes.push([ATTRIBUTE.record, value]);
    room -= ATTRIBUTE_HEADER_BYTES + padded(value.length);
  }
  assert(room >= ATTRIBUTE_HEADER_BYTES, 'a Binding request has room for its filling');
  attributes.push([ATTRIBUTE.filling, new Uint8Array(room - ATTRIBUTE_HEADER_BYTES)]);
  return encodeMessage({
    stunClass: 'request',
    method: METHOD.binding,
    transaction,
    attributes,
    hasFingerprint: true,
  });
}
