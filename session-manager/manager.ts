// The session manager: the go-between who knows names, asks the callee, and introduces only on a
// yes [means 41–45, claim 9, claim 20]. This file takes inputs apart, opens what terminals have
// sealed, and hands each to the part that it concerns: registrations, introductions, sessions,
// extensions, revocations. Pure: the shell brings time, the broker and the disk. One change → drain
// `poll` → arm one timer for `nextTimeout` (protocol/core.ts).

import { decodeMessage } from '../protocol/control/codec.ts';
import type { Message, MessageOf } from '../protocol/control/messages.ts';
import { topic } from '../protocol/control/topics.ts';
import type { ControlCore } from '../protocol/core.ts';
import type { DeviceId } from '../protocol/ids.ts';
import type { Micros } from '../protocol/time.ts';
import { Context } from './context.ts';
import { Extensions } from './extensions.ts';
import { Introductions } from './introductions.ts';
import { MANAGER_LIMITS } from './limits.ts';
import { HEAD_KEY, type LogSpan, decodeSpan } from './log-head.ts';
import type { LogHead } from './log.ts';
import type {
  Command,
  ManagerCounts,
  ManagerInput,
  ManagerOptions,
  ManagerOutput,
  Stored,
} from './manager-types.ts';
import { type Device, Names } from './names.ts';
import type { SessionRecord } from './records.ts';
import { Refusals } from './refusals.ts';
import { Reintroductions } from './reintroductions.ts';
import { Registrations } from './registrations.ts';
import { Revocations } from './revocations.ts';
import { Revoking } from './revoking.ts';
import { ServerKeyStatements } from './server-keys.ts';
import { Sessions } from './sessions.ts';

/** Which of its topics a terminal wrote on. */
type Via = Extract<ManagerInput, { kind: 'message' }>['via'];

/** The session manager's core [claim 20]. */
export class Manager implements ControlCore<ManagerInput, ManagerOutput> {
  readonly #context: Context;
  readonly #revocations: Revocations;
  readonly #serverKeys: ServerKeyStatements;
  readonly #names: Names;
  readonly #registrations: Registrations;
  readonly #revoking: Revoking;
  readonly #sessions: Sessions;
  readonly #extensions: Extensions;
  readonly #reintroductions: Reintroductions;
  readonly #introductions: Introductions;
  readonly #refusals: Refusals;
  #now = 0 as Micros;

  constructor(options: ManagerOptions) {
    this.#context = new Context(options);
    this.#revocations = new Revocations(this.#context);
    this.#serverKeys = new ServerKeyStatements(this.#context);
    this.#names = new Names(this.#context, this.#revocations, this.#serverKeys);
    this.#registrations = new Registrations(this.#context, this.#names, this.#serverKeys, {
      onChannel: (now, device) => this.#onChannel(now, device.id),
      onPoll: (now, device) => this.#introductions.onPoll(now, device.id),
      onPresent: (now, device) => this.#onPresent(now, device.id),
    });
    this.#sessions = new Sessions(this.#context, (device) => this.#revocations.has(device));
    this.#revoking = new Revoking(
      this.#context,
      { names: this.#names, sessions: this.#sessions, revocations: this.#revocations },
      (now, device) => this.#onRevoked(now, device),
    );
    this.#extensions = new Extensions(this.#context, this.#names, this.#sessions);
    this.#refusals = new Refusals(this.#context);
    this.#reintroductions = new Reintroductions(this.#context, this.#sessions);
    this.#introductions = new Introductions(this.#context, {
      names: this.#names,
      sessions: this.#sessions,
      refusals: this.#refusals,
      reintroductions: this.#reintroductions,
    });
  }

  /**
   * One input; what it brings about comes out of `poll`. Nothing that a peer sent makes it throw.
   */
  handle(time: Micros, input: ManagerInput): void {
    const now = this.#advance(time);
    this.#context.wall.set(now, input.wall);
    switch (input.kind) {
      case 'message':
        return this.#onMessage(now, input.from, input.via, input.bytes);
      case 'addressAnswer':
        return this.#onAddressAnswer(now, input.bytes);
      case 'triggerState':
        return this.#onTriggerState(now, input.bytes);
      case 'persisted':
        return this.#context.ledger.onPersisted(now, input.batch);
      case 'persistFailed':
        return this.#context.ledger.onFailed(now, input.batch, input.code);
      case 'command':
        return this.#onCommand(now, input.to, input.command);
      case 'enrol':
        return this.#names.onEnrol(now, input.to, input.bytes);
      case 'linkUp':
        // First: without it the broker lets nobody in.
        this.#revocations.onLinkUp(now);
        this.#introductions.onLinkUp(now);
        return this.#sessions.orders.onLinkUp(now);
      case 'linkDown':
        // What is under way runs into its own deadline; talks do not notice.
        return this.#revocations.onLinkDown();
      case 'pins':
        return this.#serverKeys.change(now, input.pins);
      case 'restore':
        return this.#restore(now, input.stored);
    }
  }

  handleTimeout(time: Micros): void {
    const now = this.#advance(time);
    this.#context.deadlines.run(now, MANAGER_LIMITS.firesPerTurnMax);
  }

  nextTimeout(): Micros {
    return this.#context.outputs.length > 0 ? this.#now : this.#context.deadlines.next();
  }

  poll(): ManagerOutput | undefined {
    return this.#context.outputs.shift();
  }

  /** Sessions in memory; `closed`: the newest MANAGER_LIMITS.closedSessionsMax of them. */
  sessions(which: 'open' | 'closed'): readonly SessionRecord[] {
    return this.#sessions.rows(which);
  }

  /** All enrolled terminals. */
  devices(): readonly Device[] {
    return this.#names.all();
  }

  /** The log on disk: where what is kept of it begins, and where it ends. */
  get logSpan(): LogSpan {
    return this.#context.ledger.span;
  }

  /** The signed statement about the server's TLS keys; undefined where there is no TLS. */
  get serverKeys(): Uint8Array | undefined {
    return this.#serverKeys.statement;
  }

  get counts(): Readonly<ManagerCounts> {
    return this.#context.counts;
  }

  #advance(time: Micros): Micros {
    if (time > this.#now) this.#now = time;
    return this.#now;
  }

  /** Of what comes plain, nothing counts but the handshake that makes a channel. */
  #onMessage(now: Micros, from: DeviceId, via: Via, bytes: Uint8Array): void {
    const message = decodeMessage(bytes);
    if (message === undefined) {
      this.#context.counts.malformed += 1;
      return;
    }
    if (message.kind === 'hello' && via === 'up') this.#onHello(now, from, message);
    else if (message.kind === 'sealed') this.#onSealed(now, from, via, message);
    else this.#context.counts.unexpected += 1;
  }

  /** A terminal shakes hands; one that is not enrolled, or is no more, is told so. */
  #onHello(now: Micros, from: DeviceId, hello: MessageOf<'hello'>): void {
    const { request } = hello;
    const device = this.#names.byId(from);
    if (device !== undefined) return this.#context.channels.onHello(now, device, hello);
    const refusal = { kind: 'refusal', request, code: 'not-enrolled' } as const;
    this.#context.publish(topic('down', from), refusal);
  }

  /** Only who has registered in a channel, and is in charge of its identity, is obeyed in it. */
  #onSealed(now: Micros, from: DeviceId, via: Via, sealed: MessageOf<'sealed'>): void {
    const { channels, counts } = this.#context;
    const device = this.#names.byId(from);
    if (device === undefined) {
      counts.unopened += 1;
      return;
    }
    const heard = channels.open(now, from, sealed);
    if (heard === undefined) return;
    const message = decodeMessage(heard.bytes);
    if (message === undefined) counts.malformed += 1;
    else if (message.kind === 'register' && via === 'up') {
      this.#registrations.onRegister(now, device, heard.line, message);
    } else if (!channels.isObeyed(from, heard.line)) counts.unexpected += 1;
    else if (via === 'allow-list') this.#onAllowList(now, from, message);
    else this.#onUp(now, from, message);
  }

  #onPresent(now: Micros, device: DeviceId): void {
    this.#reintroductions.onPresent(device);
    this.#sessions.orders.onPresent(now, device);
  }

  /** What is open for a terminal is told again, in its new channel. */
  #onChannel(now: Micros, device: DeviceId): void {
    this.#introductions.onChannel(now, device);
    this.#extensions.onChannel(now, device);
  }

  #onRevoked(now: Micros, device: DeviceId): void {
    this.#introductions.onRevoked(now, device);
    this.#extensions.onRevoked(now, device);
  }

  #onUp(now: Micros, from: DeviceId, message: Message): void {
    switch (message.kind) {
      case 'connect':
        return this.#introductions.onConnect(now, from, message);
      case 'extend':
        return this.#extensions.onExtend(now, from, message);
      case 'endNotice':
        return this.#sessions.onEndNotice(now, from, message);
      case 'candidates':
        return this.#reintroductions.onCandidates(now, from, message);
      default:
        this.#context.counts.unexpected += 1;
    }
  }

  #onAllowList(now: Micros, from: DeviceId, message: Message): void {
    const isWanted =
      message.kind === 'allowList' &&
      (this.#introductions.onAllowList(now, from, message) ||
        this.#extensions.onAllowList(now, from, message));
    // Late, or not asked for: the deadline has answered already.
    if (!isWanted) this.#context.counts.unexpected += 1;
  }

  #onAddressAnswer(now: Micros, bytes: Uint8Array): void {
    const message = decodeMessage(bytes);
    if (message?.kind === 'addressAnswer') this.#introductions.onAddressAnswer(now, message);
    else this.#context.counts.malformed += 1;
  }

  /** Where a trigger stands (S2002); every trigger has its own deadline here. */
  #onTriggerState(now: Micros, bytes: Uint8Array): void {
    const message = decodeMessage(bytes);
    if (message?.kind !== 'triggerState') this.#context.counts.malformed += 1;
    else if (message.state === 'handed') {
      this.#context.counts.triggersHanded += 1;
      this.#introductions.onHanded(now, message.request);
    } else if (message.state === 'expired') this.#context.counts.triggersExpired += 1;
    else this.#context.counts.triggersWaiting += 1;
  }

  #onCommand(now: Micros, to: number, command: Command): void {
    switch (command.kind) {
      case 'ticket':
        return this.#names.makeTicket(now, to, command);
      case 'end':
        return this.#sessions.onForcedEnd(now, to, command.session);
      case 'revoke':
        return this.#revoking.onRevoke(now, to, command.name);
      case 'archived':
        return this.#onArchived(now, to, command.through);
      case 'stop':
      case 'settle': {
        if (command.kind === 'stop') this.#refusals.settle(now);
        const settled = (): void => this.#context.reply(to, { kind: 'settled' });
        const nothing = { entries: [], writes: () => [] };
        return this.#context.ledger.add(now, { ...nothing, persisted: settled, failed: settled });
      }
    }
  }

  /** A part of the log lies in a file now (S6001): what is kept of it begins behind that part. */
  #onArchived(now: Micros, to: number, through: LogHead): void {
    const { ledger } = this.#context;
    const { base, head } = ledger.span;
    if (through.sequence <= base.sequence || through.sequence > head.sequence) {
      this.#context.reply(to, { kind: 'failed', code: 'bad-request' });
      return;
    }
    ledger.add(now, {
      entries: [{ kind: 'archived', through: through.sequence }],
      writes: () => [],
      base: through,
      persisted: () => this.#context.reply(to, { kind: 'settled' }),
      failed: () => this.#context.reply(to, { kind: 'failed', code: 'disk' }),
    });
  }

  /** After a restart: names, live sessions and the end of the log are as they were on disk. */
  #restore(now: Micros, stored: Stored): void {
    const row = stored.meta.find(({ key }) => key === HEAD_KEY);
    // Its signature was judged before (checkLogHead): here it only says where to go on.
    const span = row && decodeSpan(row.value);
    if (span !== undefined) this.#context.ledger.restore(span);
    this.#revocations.restore(now, stored);
    this.#serverKeys.restore(now, stored);
    this.#names.restore(stored);
    this.#sessions.restore(now, stored);
    this.#introductions.restore();
  }
}
