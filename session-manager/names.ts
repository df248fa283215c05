// The name record [41, Fig. 6]: which name is which device, and who may have one (tickets,
// enrolment); who is there: registrations.ts, who is there no more: revoking.ts. A name belongs to
// one device for good; only the operator hands out the right to one. Everything is in memory and in
// the store; a change counts once it is on disk.

import { base32 } from '../protocol/base32.ts';
import type { PublicKeys } from '../protocol/control/messages.ts';
import { decodeCbor } from '../protocol/control/cbor.ts';
import { deviceIdOf } from '../protocol/identity/device-id.ts';
import {
  makeEnrolResponse,
  openEnrolRequest,
  makeMembershipResponse,
  openMembershipRequest,
} from '../protocol/identity/enrolment.ts';
import { makeMembership } from '../protocol/identity/membership.ts';
import { TICKET_SECRET_BYTES, ticketHash } from '../protocol/identity/ticket.ts';
import { type DeviceId, type Name, isDeviceId, isName } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { randomBytes } from '../protocol/random.ts';
import { MS_PER_SECOND, type Micros } from '../protocol/time.ts';
import type { Boots } from './clones.ts';
import type { Context } from './context.ts';
import { MANAGER_LIMITS } from './limits.ts';
import type { LogFact } from './log.ts';
import type { Command, ReplyFault, Stored, Write } from './manager-types.ts';
import type { Revocations } from './revocations.ts';
import type { ServerKeyStatements } from './server-keys.ts';
import {
  RECORD,
  type TicketRecord,
  deviceRecord,
  encodeDevice,
  encodeName,
  encodeTicket,
  nameRecord,
  ticketRecord,
} from './records.ts';

/** One enrolled terminal. */
export interface Device {
  readonly id: DeviceId;
  readonly name: Name;
  readonly keys: PublicKeys;
  /** Wall milliseconds. */
  readonly enrolled: number;
  /** Wall milliseconds of its last `register`, since this manager started. */
  registered: number | undefined;
  pollSeconds: number | undefined;
  /** Its processes, since this manager started. */
  boots: Boots;
  /** Wall milliseconds when it was last seen twice at once. */
  cloned: number | undefined;
  /** When that may go into the log again. */
  alarmFrom: Micros | undefined;
  /** Unix seconds of its last membership, since this manager started. */
  issuedAt: number;
  /** The newest membership: all that are asked for within one second are this one. */
  membership: { readonly issuedAt: number; readonly bytes: Uint8Array } | undefined;
}

/** Names, devices and tickets of one manager. */
export class Names {
  readonly #context: Context;
  readonly #revocations: Revocations;
  readonly #serverKeys: ServerKeyStatements;
  readonly #byId = new Map<DeviceId, Device>();
  readonly #byName = new Map<Name, Device>();
  readonly #tickets = new Map<string, TicketRecord>();

  constructor(context: Context, revocations: Revocations, serverKeys: ServerKeyStatements) {
    this.#context = context;
    this.#revocations = revocations;
    this.#serverKeys = serverKeys;
  }

  /** Takes the rows read at start; rows that do not decode are dropped and counted. */
  restore(stored: Stored): void {
    const names = new Map<string, Name>();
    for (const { key, value } of stored.names) {
      const row = decodeCbor(nameRecord, value);
      if (row !== undefined && isName(key)) names.set(row.device, key);
      else this.#context.counts.malformed += 1;
    }
    for (const { key, value } of stored.devices) {
      const row = decodeCbor(deviceRecord, value);
      const name = names.get(key);
      if (row === undefined || name === undefined || !isDeviceId(key)) {
        this.#context.counts.malformed += 1;
        continue;
      }
      const { keys, enrolled, cloned } = row;
      this.#bind(device({ id: key, name, keys, enrolled, cloned }));
    }
    for (const { key, value } of stored.tickets) {
      const row = decodeCbor(ticketRecord, value);
      if (row !== undefined) this.#tickets.set(key, row);
    }
  }

  /** The terminal of a proven ID, if it is enrolled. */
  byId(id: DeviceId): Device | undefined {
    return this.#byId.get(id);
  }

  /** The terminal of a name, if somebody has it. */
  byName(name: Name): Device | undefined {
    return this.#byName.get(name);
  }

  /** All enrolled terminals, in the order of their enrolment. */
  all(): readonly Device[] {
    return [...this.#byId.values()];
  }

  /** A terminal was revoked: nobody has its ID, its name is free. */
  remove(device: Device): void {
    this.#byId.delete(device.id);
    if (this.#byName.get(device.name) === device) this.#byName.delete(device.name);
  }

  /** What to write of a terminal that was revoked. */
  rowsWithout(device: Device): readonly Write[] {
    return [
      { table: 'devices', key: device.id, value: undefined },
      { table: 'names', key: device.name, value: undefined },
    ];
  }

  /** The row of a terminal as it stands; none if it was revoked meanwhile. */
  rowOf(id: DeviceId): readonly Write[] {
    const found = this.#byId.get(id);
    if (found === undefined) return [];
    const { keys, enrolled, cloned } = found;
    const value = encodeDevice({ ...RECORD, keys, enrolled, cloned });
    return [{ table: 'devices', key: id, value }];
  }

  /** Makes a ticket; only the hash of its secret is kept. */
  makeTicket(now: Micros, to: number, command: Extract<Command, { kind: 'ticket' }>): void {
    const { name, uses, seconds } = command;
    const wall = this.#context.wall.at(now);
    const dropped = this.#dropOldTickets(wall);
    const isUsable =
      isWithin(uses, MANAGER_LIMITS.ticketUsesMax) &&
      isWithin(seconds, MANAGER_LIMITS.ticketSecondsMax);
    if (!isUsable) {
      this.#fail(to, 'bad-request');
      return;
    }
    if (this.#tickets.size >= MANAGER_LIMITS.ticketsMax) {
      this.#fail(to, 'busy');
      return;
    }
    const secret = randomBytes(this.#context.options.rng, TICKET_SECRET_BYTES);
    const key = this.#ticketKey(secret);
    const expires = wall + seconds * MS_PER_SECOND;
    this.#tickets.set(key, { ...RECORD, usesLeft: uses, expires, name });
    this.#context.ledger.add(now, {
      entries: [{ kind: 'ticket', uses, seconds, name }],
      writes: () => [this.#ticketRow(key), ...dropped],
      persisted: () => {
        const expiresAt = Math.floor(expires / MS_PER_SECOND);
        this.#context.reply(to, { kind: 'ticket', secret, expiresAt });
      },
      failed: () => {
        this.#tickets.delete(key);
        this.#fail(to, 'disk');
      },
    });
  }

  /**
   * Enrols a terminal that shows a ticket and proves its keys [S2000]: its name is its device ID's
   * from now on. One use of the ticket is taken before anything else happens, so that of two that
   * race for the last use exactly one gets it. Repeating the request of a terminal that is enrolled
   * already costs no use. A body that asks for a new membership is told apart by what it is signed
   * as.
   */
  onEnrol(now: Micros, to: number, body: Uint8Array): void {
    const { options, wall } = this.#context;
    const request = openEnrolRequest(options.suite, body);
    if (request === undefined) return this.#onMembership(now, to, body);
    if (request.url !== options.enrolUrl) return this.#fail(to, 'wrong-server');
    const id = deviceIdOf(options.suite, request.keys);
    if (this.#revocations.has(id)) return this.#fail(to, 'revoked');
    const known = this.#byId.get(id);
    if (known !== undefined && known.name === (request.name ?? known.name)) {
      return this.#welcome(now, to, id, { entries: [], writes: () => [] });
    }
    if (known !== undefined) return this.#fail(to, 'already-enrolled');
    const key = this.#ticketKey(request.secret);
    const ticket = this.#tickets.get(key);
    if (ticket === undefined || ticket.usesLeft < 1 || ticket.expires <= wall.at(now)) {
      return this.#fail(to, 'ticket-invalid');
    }
    const name = ticket.name ?? request.name;
    if (name === undefined) return this.#fail(to, 'name-missing');
    if (request.name !== undefined && request.name !== name) return this.#fail(to, 'name-fixed');
    if (this.#byName.has(name)) return this.#fail(to, 'name-taken');
    if (this.#byId.size >= LIMITS.devicesMax) return this.#fail(to, 'busy');
    this.#tickets.set(key, { ...ticket, usesLeft: ticket.usesLeft - 1 });
    const enrolled = wall.at(now);
    const { keys } = request;
    const made = device({ id, name, keys, enrolled, cloned: undefined });
    this.#bind(made);
    this.#welcome(now, to, id, {
      entries: [{ kind: 'enrolled', device: id, name, keys }],
      writes: () => [
        ...this.rowOf(id),
        { table: 'names', key: name, value: encodeName({ ...RECORD, device: id }) },
        this.#ticketRow(key),
      ],
      undo: () => {
        this.remove(made);
        const left = this.#tickets.get(key);
        if (left !== undefined) this.#tickets.set(key, { ...left, usesLeft: left.usesLeft + 1 });
      },
    });
  }

  /** A new membership for a terminal that proves its keys: it was away for more than a day. */
  #onMembership(now: Micros, to: number, body: Uint8Array): void {
    const { options } = this.#context;
    const request = openMembershipRequest(options.suite, body);
    if (request === undefined) return this.#fail(to, 'bad-request');
    if (request.url !== options.enrolUrl) return this.#fail(to, 'wrong-server');
    const id = deviceIdOf(options.suite, request.keys);
    if (this.#revocations.has(id)) return this.#fail(to, 'revoked');
    const known = this.#byId.get(id);
    if (known === undefined) return this.#fail(to, 'not-enrolled');
    const { nonce } = request;
    const membership = this.membership(now, known);
    const bytes = makeMembershipResponse(options.key, { nonce, membership });
    this.#context.reply(to, { kind: 'membership', bytes });
  }

  /** Answers an enrolment once it is on disk; the device may be gone again if that failed. */
  #welcome(
    now: Micros,
    to: number,
    id: DeviceId,
    fact: {
      readonly entries: readonly LogFact[];
      readonly writes: () => readonly Write[];
      readonly undo?: () => void;
    },
  ): void {
    const { key, brokerUrl, agreementKey } = this.#context.options;
    this.#context.ledger.add(now, {
      entries: fact.entries,
      writes: fact.writes,
      persisted: (then) => {
        const known = this.#byId.get(id);
        if (known === undefined)
          return this.#fail(to, this.#revocations.has(id) ? 'revoked' : 'disk');
        const bytes = makeEnrolResponse(key, {
          name: known.name,
          membership: this.membership(then, known),
          brokerUrl,
          agreementKey: agreementKey.publicKey,
          serverKeys: this.#serverKeys.statement,
        });
        this.#context.reply(to, { kind: 'enrolled', bytes });
      },
      failed: () => {
        fact.undo?.();
        this.#fail(to, 'disk');
      },
    });
  }

  /** A membership from now on, signed: once a second, however often a terminal asks. */
  membership(now: Micros, device: Device): Uint8Array {
    const issuedAt = Math.floor(this.#context.wall.at(now) / MS_PER_SECOND);
    if (device.membership?.issuedAt === issuedAt) return device.membership.bytes;
    device.issuedAt = Math.max(device.issuedAt, issuedAt);
    const bytes = makeMembership(this.#context.options.key, {
      device: device.id,
      keys: device.keys,
      issuedAt,
      expiresAt: issuedAt + LIMITS.membershipSeconds,
    });
    device.membership = { issuedAt, bytes };
    return bytes;
  }

  #bind(made: Device): void {
    this.#byId.set(made.id, made);
    this.#byName.set(made.name, made);
  }

  #ticketKey(secret: Uint8Array): string {
    return base32(ticketHash(this.#context.options.suite, secret));
  }

  /** The row of a ticket as it stands; one without uses left is removed. */
  #ticketRow(key: string): Write {
    const ticket = this.#tickets.get(key);
    const gone = ticket === undefined || ticket.usesLeft < 1;
    return { table: 'tickets', key, value: gone ? undefined : encodeTicket(ticket) };
  }

  #dropOldTickets(wall: number): readonly Write[] {
    const old = [...this.#tickets].filter(
      ([, ticket]) => ticket.usesLeft < 1 || ticket.expires <= wall,
    );
    return old.map(([key]) => {
      this.#tickets.delete(key);
      return { table: 'tickets', key, value: undefined };
    });
  }

  #fail(to: number, code: ReplyFault): void {
    this.#context.reply(to, { kind: 'failed', code });
  }
}

/** A terminal as it is before this manager has heard of it. */
function device(known: Pick<Device, 'id' | 'name' | 'keys' | 'enrolled' | 'cloned'>): Device {
  return {
    ...known,
    registered: undefined,
    pollSeconds: undefined,
    boots: [],
    alarmFrom: undefined,
    issuedAt: 0,
    membership: undefined,
  };
}

/** A whole number from 1 to `most`. */
function isWithin(value: number, most: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= most;
}
