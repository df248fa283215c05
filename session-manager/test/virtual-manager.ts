// A manager's core in virtual time: terminals, a broker
// and a disk that the test plays by hand. Terminals shake
// hands, register, seal and sign by themselves; what the
// manager sends is opened before it is put into `sent`.
// It is long because it is the one world in which every
// test of the manager's core is told.

import { signExtension } from '../../protocol/consent/statements.ts';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type {
  FoundAddress,
  Kind,
  ListEntry,
  Message,
  MessageOf,
  Terms,
} from '../../protocol/control/messages.ts';
import { QUERY_TOPIC, parseTopic, topic } from '../../protocol/control/topics.ts';
import type { EndReason } from '../../protocol/ends.ts';
import { deviceIdOf } from '../../protocol/identity/device-id.ts';
import { makeEnrolRequest } from '../../protocol/identity/enrolment.ts';
import {
  type DeviceId,
  type ManagerId,
  type Name,
  type RecordId,
  type RequestId,
  type SessionId,
  randomRecordId,
  randomRequestId,
} from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBytes, seededRng } from '../../protocol/random.ts';
import { type Micros, micros, wallMs } from '../../protocol/time.ts';
import { type LogEntry, decodeLogEntry } from '../log.ts';
import type {
  Command,
  ManagerInput,
  ManagerOptions,
  ManagerOutput,
  RateLimits,
  Reply,
  SessionChange,
  Stored,
  Table,
} from '../manager-types.ts';
import { TABLES } from '../manager-types.ts';
import { Manager } from '../manager.ts';
import {
  type AnswerFields,
  type Line,
  type Terminal,
  helloOf,
  opened,
  signedAnswer,
  signedConnect,
} from './virtual-terminal.ts';

export type { Terminal };

export const START_WALL = 1_800_000_000_000;
export const ENROL_URL = 'http://127.0.0.1:8183/nakodo/1/enrol';
export const POLICY = { secondsDefault: 3_600, secondsMax: 7_200, bytesMax: 10_000_000 };
const NOTHING: Terms = {};

/** An address that must show up nowhere but in notices: 10.20.30.1 [Fig. 4]. */
export const CALLER_ADDRESS = Uint8Array.of(10, 20, 30, 1);
export const CALLEE_ADDRESS = Uint8Array.of(40, 50, 60, 1);
/** Where a broker sees terminals of one site (RFC 5737). */
export const SITE_ADDRESS = Uint8Array.of(203, 0, 113, 9);

export interface Sent {
  readonly at: number;
  readonly topic: string;
  readonly message: Message;
  /** As the terminal opens them. */
  readonly bytes: Uint8Array;
  /** As they cross the broker. */
  readonly wire: Uint8Array;
}

/** Rates that no test meets by accident. */
const NO_RATES: RateLimits = {
  perCaller: { burst: 1_000_000, perSecond: 1_000_000 },
  perName: { burst: 1_000_000, perSecond: 1_000_000 },
};
type Settings = Partial<
  Pick<
    ManagerOptions,
    'suite' | 'rates' | 'explain' | 'pins' | 'forgetKeys' | 'policy' | 'stun' | 'relay'
  >
>;

/** What a terminal says about meeting; nobody signs it. */
export type MeetingFields = Pick<MessageOf<'connect'>, 'delayMs' | 'relay'>;

type Unwalled<T> = T extends ManagerInput ? Omit<T, 'wall'> : never;

export class World {
  readonly rng = seededRng(7);
  readonly key = nodeSuite.signingKey(new Uint8Array(32).fill(9));
  readonly agreementKey = nodeSuite.dhKey(new Uint8Array(32).fill(8));
  settings: Settings;
  readonly tables = new Map<Table, Map<string, Uint8Array>>();
  readonly sent: Sent[] = [];
  readonly replies = new Map<number, Reply>();
  readonly changes: SessionChange[] = [];
  readonly alarms: Extract<ManagerOutput, { kind: 'alarm' }>[] = [];
  readonly lines = new Map<DeviceId, Line>();
  readonly batches: Extract<ManagerOutput, { kind: 'persist' }>[] = [];
  manager: Manager;
  /** `hold`: batches wait until `flush`; `full`: every one fails. */
  disk: 'works' | 'hold' | 'full' = 'works';
  nowMs = 0;
  wallShiftMs = 0;
  /** Whether terminals shake hands again when they are told to. */
  answersReseal = true;
  readonly #terminals = new Map<DeviceId, Terminal>();
  readonly #resealed = new Set<Terminal>();
  #to = 0;

  constructor(settings: Settings = {}) {
    this.settings = settings;
    for (const table of TABLES) this.tables.set(table, new Map());
    this.manager = this.#make();
  }

  #make(): Manager {
    return new Manager({
      id: `manager-${'m'.repeat(32)}` as ManagerId,
      key: this.key,
      agreementKey: this.agreementKey,
      pins: [],
      suite: nodeSuite,
      rng: this.rng,
      policy: POLICY,
      explain: false,
      rates: NO_RATES,
      enrolUrl: ENROL_URL,
      brokerUrl: 'mqtt://127.0.0.1:1883',
      ...this.settings,
    });
  }

  get now(): Micros {
    return micros(this.nowMs * 1_000);
  }

  /**
   * Kills the manager and starts another on the same disk, `offMs` later. Its channels are gone;
   * terminals shake hands when they next have something to say, unless they are to learn it first.
   */
  restart(offMs: number, options: { readonly unaware?: boolean } = {}): void {
    this.nowMs += offMs;
    if (options.unaware !== true) for (const line of this.lines.values()) line.channel = undefined;
    this.batches.length = 0;
    this.manager = this.#make();
    const rows = (table: Table) =>
      [...this.table(table)]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, value]) => ({ key, value }));
    const stored: Stored = {
      devices: rows('devices'),
      names: rows('names'),
      tickets: rows('tickets'),
      sessions: rows('sessions'),
      meta: rows('meta'),
      revoked: rows('revoked'),
    };
    this.input({ kind: 'restore', stored });
  }

  table(name: Table): Map<string, Uint8Array> {
    return this.tables.get(name) ?? new Map();
  }

  input(input: Unwalled<ManagerInput>): void {
    const wall = wallMs(START_WALL + this.nowMs + this.wallShiftMs);
    this.manager.handle(this.now, { ...input, wall } as ManagerInput);
    this.drain();
    this.#answerReseals();
  }

  #answerReseals(): void {
    for (const terminal of this.#resealed) {
      this.#resealed.delete(terminal);
      this.join(terminal);
    }
  }

  drain(): void {
    for (;;) {
      const output = this.manager.poll();
      if (output === undefined) return;
      if (output.kind === 'publish') this.#publish(output.topic, output.bytes);
      else if (output.kind === 'alarm') this.alarms.push(output);
      else if (output.kind === 'reply') this.replies.set(output.to, output.reply);
      else if (output.kind === 'event') this.changes.push(output.change);
      else {
        this.batches.push(output);
        if (this.disk !== 'hold') this.flush();
      }
    }
  }

  #publish(name: string, wire: Uint8Array): void {
    const outer = decodeMessage(wire);
    if (outer === undefined) throw new Error(`undecodable on ${name}`);
    const place = parseTopic(name);
    const line =
      place !== undefined && 'device' in place ? this.lines.get(place.device) : undefined;
    if (outer.kind === 'trigger') {
      const payload = opened(line, outer.payload);
      if (decodeMessage(payload)?.kind === 'reseal') this.#onReseal(name);
      this.#record(name, { ...outer, payload }, wire);
      return;
    }
    const bytes = outer.kind === 'sealed' ? opened(line, wire) : wire;
    const message = decodeMessage(bytes);
    if (message === undefined) throw new Error(`sealed bytes that are no message on ${name}`);
    this.#record(name, message, wire);
    if (message.kind === 'reseal') this.#onReseal(name);
    if (message.kind !== 'welcome' || line?.hello === undefined) return;
    const channel = line.hello.finish(message);
    if (channel === undefined) return;
    line.former = line.channel;
    line.channel = channel;
    line.hello = undefined;
  }

  #onReseal(name: string): void {
    const place = parseTopic(name);
    const terminal =
      place !== undefined && 'device' in place ? this.#terminals.get(place.device) : undefined;
    if (terminal !== undefined && this.answersReseal) this.#resealed.add(terminal);
  }

  #record(name: string, message: Message, wire: Uint8Array): void {
    this.sent.push({
      at: this.nowMs,
      topic: name,
      message,
      bytes: encodeMessage(message),
      wire,
    });
  }

  /** The disk answers the oldest batch. */
  flush(): void {
    const next = this.batches.shift();
    if (next === undefined) throw new Error('nothing to flush');
    if (this.disk === 'full') {
      this.input({ kind: 'persistFailed', batch: next.batch, code: 'ENOSPC' });
      return;
    }
    for (const { table, key, value } of next.writes) {
      if (value === undefined) this.table(table).delete(key);
      else this.table(table).set(key, value);
    }
    this.input({ kind: 'persisted', batch: next.batch });
  }

  /** Lets time pass, waking the core when it asked to be. */
  advance(byMs: number): void {
    const until = this.nowMs + byMs;
    for (let turn = 0; turn < 100_000; turn++) {
      const due = this.manager.nextTimeout() / 1_000;
      if (due > until) break;
      this.nowMs = Math.max(this.nowMs, due);
      this.manager.handleTimeout(this.now);
      this.drain();
      this.#answerReseals();
    }
    this.nowMs = until;
  }

  command(command: Command): number {
    this.input({ kind: 'command', to: ++this.#to, command });
    return this.#to;
  }

  enrolBody(bytes: Uint8Array): number {
    this.input({ kind: 'enrol', to: ++this.#to, bytes });
    return this.#to;
  }

  reply<K extends Reply['kind']>(to: number, kind: K): Extract<Reply, { kind: K }> {
    const reply = this.replies.get(to);
    if (reply?.kind !== kind) throw new Error(`reply ${to} is ${JSON.stringify(reply)}`);
    return reply as Extract<Reply, { kind: K }>;
  }

  ticket(uses = 1, name?: string, seconds = 600): Uint8Array {
    const to = this.command({ kind: 'ticket', name: name as Name | undefined, uses, seconds });
    return this.reply(to, 'ticket').secret;
  }

  /** A terminal that is not enrolled. */
  stranger(name: string): Terminal {
    const key = nodeSuite.signingKey(randomBytes(this.rng, 32));
    const dh = nodeSuite.dhKey(randomBytes(this.rng, 32));
    const keys = { ed25519: key.publicKey, x25519: dh.publicKey };
    const made = { key, dh, keys, id: deviceIdOf(nodeSuite, keys), name: name as Name };
    this.#terminals.set(made.id, made);
    return made;
  }

  enrol(terminal: Terminal, secret: Uint8Array): number {
    const { key, keys, name } = terminal;
    return this.enrolBody(makeEnrolRequest(key, { url: ENROL_URL, secret, keys, name }));
  }

  /** An enrolled terminal that has registered. */
  terminal(name: string): Terminal {
    const terminal = this.stranger(name);
    this.reply(this.enrol(terminal, this.ticket()), 'enrolled');
    this.join(terminal);
    return terminal;
  }

  /** What a terminal's process knows; made at its first look. */
  line(of: Terminal): Line {
    const known = this.lines.get(of.id);
    if (known !== undefined) return known;
    const boot = randomRequestId(this.rng);
    const line: Line = { boot, channel: undefined, former: undefined, hello: undefined };
    this.lines.set(of.id, line);
    return line;
  }

  /** Its process is killed and started again. */
  reboot(terminal: Terminal): void {
    this.lines.delete(terminal.id);
    this.line(terminal);
  }

  /** Anything on a terminal's topic, as it is. */
  raw(from: Terminal, bytes: Uint8Array, via: 'up' | 'allow-list' = 'up'): void {
    this.input({ kind: 'message', from: from.id, via, bytes });
  }

  /** The first half of a handshake, as bytes; the welcome is taken when it comes. */
  hello(from: Terminal): Uint8Array {
    const hello = helloOf(this.rng, from, this.agreementKey.publicKey);
    this.line(from).hello = hello;
    if (hello.message === undefined) throw new Error('no hello for such a key');
    return encodeMessage(hello.message);
  }

  registerMessage(from: Terminal, more: Partial<MessageOf<'register'>> = {}) {
    const request = randomRequestId(this.rng);
    const { boot } = this.line(from);
    const message: MessageOf<'register'> = {
      kind: 'register',
      request,
      name: from.name,
      boot,
      capabilities: [],
      ...more,
    };
    return message;
  }

  /** Shakes hands and registers; what is said in doing so is not in `sent`. */
  join(terminal: Terminal, more: Partial<MessageOf<'register'>> = {}): void {
    const before = this.sent.length;
    this.raw(terminal, this.hello(terminal));
    if (this.line(terminal).channel === undefined) return;
    const register = this.registerMessage(terminal, more);
    this.raw(terminal, this.seal(terminal, encodeMessage(register)));
    const said = this.sent.splice(before);
    const isPlainJoin = ({ message }: Sent): boolean =>
      message.kind === 'welcome' || message.kind === 'registered';
    this.sent.push(...said.filter((one) => !isPlainJoin(one)));
  }

  /** Seals encoded bytes as a terminal; one without a channel joins first. */
  seal(from: Terminal, bytes: Uint8Array): Uint8Array {
    const line = this.line(from);
    if (line.channel === undefined) this.join(from);
    if (line.channel === undefined) throw new Error(`${from.name} has no channel`);
    return line.channel.seal(bytes);
  }

  /** Says something, sealed; who is let into no channel can only say it plain. */
  up(from: Terminal, message: Message): void {
    if (this.line(from).channel === undefined) this.join(from);
    const bytes = encodeMessage(message);
    this.raw(from, this.line(from).channel?.seal(bytes) ?? bytes);
  }

  connect(
    from: Terminal,
    calleeName: string,
    options: {
      want?: Terms;
      waitMs?: number;
      service?: string;
      as?: string;
      meeting?: MeetingFields;
    } = {},
  ): { request: RequestId; record: RecordId; message: MessageOf<'connect'> } {
    const message = this.signedConnect(from, {
      request: randomRequestId(this.rng),
      callerName: (options.as ?? from.name) as Name,
      calleeName: calleeName as Name,
      service: options.service ?? 'file',
      want: options.want ?? NOTHING,
      waitMs: options.waitMs ?? 5_000,
      record: randomRecordId(this.rng),
      ...options.meeting,
    });
    this.up(from, message);
    return { request: message.request, record: message.record, message };
  }

  /** A connect request under a terminal's own signature. */
  signedConnect(
    from: Terminal,
    fields: Omit<MessageOf<'connect'>, 'kind' | 'signature'>,
  ): MessageOf<'connect'> {
    return signedConnect(from, fields);
  }

  /** All messages of a kind, as (topic, message). */
  of<K extends Kind>(kind: K): { at: number; topic: string; message: MessageOf<K> }[] {
    return this.sent.filter((one) => one.message.kind === kind) as never;
  }

  last<K extends Kind>(kind: K): MessageOf<K> {
    const found = this.of(kind).at(-1);
    if (found === undefined) throw new Error(`no ${kind} was sent`);
    return found.message;
  }

  /** The payload of the last trigger to a terminal. */
  asked<K extends 'ask' | 'askExtend' | 'endRequest'>(to: Terminal, kind: K): MessageOf<K> {
    const triggers = this.of('trigger').filter((one) => one.topic === topic('trigger', to.id));
    const payloads = triggers.map(({ message }) => decodeMessage(message.payload));
    const found = payloads.findLast((payload) => payload?.kind === kind);
    if (found === undefined) throw new Error(`no ${kind} was triggered`);
    return found as MessageOf<K>;
  }

  /** All questions that were put to a terminal, oldest first. */
  questions(to: Terminal): MessageOf<'ask'>[] {
    const triggers = this.of('trigger').filter((one) => one.topic === topic('trigger', to.id));
    return triggers.flatMap(({ message }) => {
      const payload = decodeMessage(message.payload);
      return payload?.kind === 'ask' ? [payload] : [];
    });
  }

  answerList(
    callee: Terminal,
    request: RequestId,
    entries: readonly ListEntry[],
    mode: 'list' | 'verdict' = 'verdict',
    meeting: MeetingFields = {},
  ): RecordId {
    const record = randomRecordId(this.rng);
    const message = {
      ...this.signedAnswer(callee, { request, entries, mode, record }),
      ...meeting,
    };
    this.raw(callee, this.seal(callee, encodeMessage(message)), 'allow-list');
    return record;
  }

  /** An answer under a terminal's own signature, to the question of this ID. */
  signedAnswer(callee: Terminal, of: AnswerFields): MessageOf<'allowList'> {
    const asks = this.of('trigger').map(({ message }) => decodeMessage(message.payload));
    return signedAnswer(this.rng, callee, of, asks);
  }

  /** Both terminals are seen at one public address, unless a test says something else. */
  answerQuery(of: readonly { device: DeviceId; address: Uint8Array }[]): void {
    this.answerFound(
      of.map(({ device, address }) => ({
        device,
        seenAt: SITE_ADDRESS,
        candidates: [{ address, port: 4_000, type: 'host' as const }],
      })),
    );
  }

  /** The broker's answer to the last query, as far as it asks for these. */
  answerFound(of: readonly Omit<FoundAddress, 'record'>[]): void {
    const query = this.last('addressQuery');
    const found = query.wanted.flatMap(({ device, record }) =>
      of.filter((one) => one.device === device).map((one) => ({ ...one, record })),
    );
    const message = { kind: 'addressAnswer', request: query.request, found } as const;
    this.input({ kind: 'addressAnswer', bytes: encodeMessage(message) });
  }

  /** A whole introduction; returns its session. */
  introduce(
    caller: Terminal,
    callee: Terminal,
    options: { want?: Terms; entry?: Partial<ListEntry> } = {},
  ): { session: SessionId; request: RequestId } {
    const { request } = this.connect(caller, callee.name, { want: options.want ?? NOTHING });
    const ask = this.asked(callee, 'ask');
    this.answerList(callee, ask.request, [allow(caller.name, options.entry)]);
    this.answerBoth(caller, callee);
    const row = this.manager.sessions('open').at(-1);
    if (row === undefined) throw new Error('no session began');
    return { session: row.session, request };
  }

  answerBoth(caller: Terminal, callee: Terminal): void {
    this.answerQuery([
      { device: caller.id, address: CALLER_ADDRESS },
      { device: callee.id, address: CALLEE_ADDRESS },
    ]);
  }

  end(
    from: Terminal,
    session: SessionId,
    reason: EndReason,
    counts: Partial<Counts> = {},
  ): RequestId {
    const request = randomRequestId(this.rng);
    this.up(from, { kind: 'endNotice', request, session, reason, ...NO_COUNTS, ...counts });
    return request;
  }

  extend(from: Terminal, session: SessionId, revision: number, want: Terms): RequestId {
    const request = randomRequestId(this.rng);
    const fields = { request, session, revision, want };
    const signature = signExtension(from.key, { ...fields, askerId: from.id });
    this.up(from, { ...fields, kind: 'extend', signature });
    return request;
  }

  entries(): LogEntry[] {
    return this.logBytes().map((bytes) => {
      const entry = decodeLogEntry(bytes);
      if (entry === undefined) throw new Error('an entry cannot be read');
      return entry;
    });
  }

  logBytes(): Uint8Array[] {
    return [...this.table('log')].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
  }

  logged<K extends LogEntry['kind']>(kind: K): Extract<LogEntry, { kind: K }>[] {
    return this.entries().filter((entry) => entry.kind === kind) as never;
  }
}

interface Counts {
  sentBytes: number;
  receivedBytes: number;
  lostBytes: number;
  wireBytes: number;
  durationMs: number;
}
const NO_COUNTS: Counts = {
  sentBytes: 0,
  receivedBytes: 0,
  lostBytes: 0,
  wireBytes: 0,
  durationMs: 0,
};

export const allow = (pattern: string, more: Partial<ListEntry> = {}): ListEntry => ({
  action: 'allow',
  pattern,
  ...more,
});
export const deny = (pattern: string): ListEntry => ({ action: 'deny', pattern });

/** Whether a byte string holds another. */
export function holds(whole: Uint8Array, part: Uint8Array): boolean {
  return Buffer.from(whole).includes(Buffer.from(part));
}

export const down = (terminal: Terminal): string => topic('down', terminal.id);
export { QUERY_TOPIC };
