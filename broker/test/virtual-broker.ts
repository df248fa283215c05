// The broker's core in virtual time, with its outputs decoded, and short ways to say the messages
// that go in and come out: for the table tests.

import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type {
  Candidate,
  FoundAddress,
  Message,
  MessageOf,
} from '../../protocol/control/messages.ts';
import {
  type ParsedTopic,
  answerTopic,
  parseTopic,
  topic,
  triggerStateTopic,
} from '../../protocol/control/topics.ts';
import type { DeviceId, ManagerId, RecordId, RequestId } from '../../protocol/ids.ts';
import { NO_PIN } from '../../protocol/identity/token.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Micros, type WallMs, micros, ms, wallMs } from '../../protocol/time.ts';
import { type BrokerInput, TriggerBroker } from '../trigger-broker.ts';
import type { Held, Trust } from '../login.ts';
import type { Ending } from '../memberships.ts';

export const CALLER = 'a'.repeat(32) as DeviceId;
export const CALLEE = 'b'.repeat(32) as DeviceId;
export const MANAGER = `manager-${'m'.repeat(32)}` as ManagerId;
export const OTHER_MANAGER = `manager-${'n'.repeat(32)}` as ManagerId;

const DIGITS = 'abcdefghijklmnopqrstuvwxyz234567';

/** A distinct ID of the given length per number. */
const numbered = (number: number, length: number): string => {
  let text = '';
  for (let rest = number; text.length < 6; rest = Math.floor(rest / 32)) text += DIGITS[rest % 32];
  return text.padEnd(length, 'z');
};

export const requestOf = (number: number): RequestId => numbered(number, 26) as RequestId;
export const recordOf = (number: number): RecordId => numbered(number, 26) as RecordId;
export const deviceOf = (number: number): DeviceId => numbered(number, 32) as DeviceId;

/** An input as the table tests write it: the membership behind a connection goes without saying. */
type Told =
  | Exclude<BrokerInput, { readonly kind: 'connected' | 'message' }>
  | {
      readonly kind: 'connected';
      readonly device: DeviceId;
      readonly seenAt?: Uint8Array;
    }
  | Omit<BrokerInput & { readonly kind: 'message' }, 'wall'>;

/** When virtual time begins: Unix milliseconds. */
export const WALL_START: WallMs = wallMs(1_800_000_000_000);
/** A membership that outlives every test. */
export const lasting = (device: DeviceId): Held => ({
  device,
  manager: 0,
  issuedAt: 0,
  expiresAt: LIMITS.unixSecondsMax,
});

/** One published message: where, and what. */
export interface Published {
  readonly to: string;
  readonly message: Message | undefined;
}

/** A core whose clock the test moves; every wake-up in between is kept. */
export class VirtualBroker {
  readonly core: TriggerBroker;
  now: Micros = micros(0);
  /** Connections that the core had ended. */
  readonly ended: Omit<Ending, 'kind'>[] = [];

  /** `stunPorts`: of the STUN server beside it. */
  constructor(trust: Partial<Trust> = {}, stunPorts = 0) {
    const whole = { suite: nodeSuite, managerKeys: [], server: NO_PIN, ...trust };
    this.core = new TriggerBroker(whole, stunPorts);
  }

  get wall(): WallMs {
    return wallMs(WALL_START + this.now / ms(1));
  }

  /** An input as the core takes it, at this moment. */
  input(told: Told): BrokerInput {
    const { wall } = this;
    if (told.kind === 'connected') {
      const { device, seenAt } = told;
      return { kind: 'connected', held: lasting(device), wall, seenAt };
    }
    return told.kind === 'message' ? { ...told, wall } : told;
  }

  /** Gives an input now and returns what it made the broker publish. */
  give(told: Told): Published[] {
    this.core.handle(this.now, this.input(told));
    return this.drain();
  }

  /** A message as the shell passes it on. */
  tell(from: string, name: string, message: Message | Uint8Array): Published[] {
    const place = parseTopic(name) as ParsedTopic;
    const bytes = message instanceof Uint8Array ? message : encodeMessage(message);
    return this.give({ kind: 'message', from, topic: place, bytes });
  }

  /** Connects a terminal and lets it poll. */
  attend(device: DeviceId): Published[] {
    this.give({ kind: 'connected', device });
    return this.give({ kind: 'polled', device });
  }

  /** Lets time pass, waking the core exactly when it asks for it. */
  pass(milliseconds: number): Published[] {
    const until = micros(this.now + ms(milliseconds));
    const published: Published[] = [];
    while (this.core.nextTimeout() <= until) {
      this.now = micros(Math.max(this.now, this.core.nextTimeout()));
      this.core.handleTimeout(this.now);
      published.push(...this.drain());
    }
    this.now = until;
    return published;
  }

  drain(): Published[] {
    const published: Published[] = [];
    for (let output = this.core.poll(); output !== undefined; output = this.core.poll()) {
      if (output.kind === 'publish')
        published.push({ to: output.topic, message: decodeMessage(output.bytes) });
      else this.ended.push({ device: output.device, why: output.why });
    }
    return published;
  }
}

export const HERE: Candidate = { address: Uint8Array.of(10, 20, 30, 1), port: 4000, type: 'host' };
export const THERE: Candidate = { address: Uint8Array.of(40, 50, 60, 1), port: 5000, type: 'host' };
export const PAYLOAD: Uint8Array = Uint8Array.of(1, 2, 3);

export const address = (record: RecordId, ...candidates: Candidate[]): Message => ({
  kind: 'address',
  record,
  candidates,
});
export const trigger = (request: RequestId, deadlineMs: number, payload = PAYLOAD): Message => ({
  kind: 'trigger',
  request,
  deadlineMs,
  payload,
});
export const query = (
  request: RequestId,
  wanted: readonly (readonly [DeviceId, RecordId])[],
  waitMs: number = LIMITS.recordWaitMs,
): Message => ({
  kind: 'addressQuery',
  request,
  wanted: wanted.map(([device, record]) => ({ device, record })),
  waitMs,
});
export const call = (request: RequestId, deadlineMs: number, payload = PAYLOAD): Published => ({
  to: topic('call', CALLEE),
  message: { kind: 'call', request, deadlineMs, payload },
});
export const state = (
  request: RequestId,
  word: MessageOf<'triggerState'>['state'],
  device: DeviceId = CALLEE,
): Published => ({
  to: triggerStateTopic(device),
  message: { kind: 'triggerState', request, state: word },
});
export const polled = (handed: number): Published => ({
  to: topic('call', CALLEE),
  message: { kind: 'polled', handed },
});
export const answer = (
  request: RequestId,
  found: MessageOf<'addressAnswer'>['found'],
  manager: string = MANAGER,
): Published => ({
  to: answerTopic(manager),
  message: { kind: 'addressAnswer', request, found: found.map(asRead) },
});

/** A record as it is read: what was not said is there, undefined. */
export const asRead = (found: FoundAddress): FoundAddress => ({
  seenAt: undefined,
  proven: undefined,
  varies: undefined,
  ...found,
});
