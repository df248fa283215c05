// Registration [41, S2000]: a terminal says its name through a channel that it has just sealed, and
// from then on is heard in it. Answered with a fresh membership, the time and the server's keys.
// Here, too, a copied identity is found out (clones.ts).

import { encodeMessage } from '../protocol/control/codec.ts';
import type { MessageOf } from '../protocol/control/messages.ts';
import { LIMITS } from '../protocol/limits.ts';
import { type Micros, after, ms } from '../protocol/time.ts';
import type { Line } from './channels.ts';
import { judgeBoot } from './clones.ts';
import type { Context } from './context.ts';
import { MANAGER_LIMITS } from './limits.ts';
import type { Device, Names } from './names.ts';
import type { ServerKeyStatements } from './server-keys.ts';

type Refused = MessageOf<'refusal'>['code'];

/** Who hears that a terminal is there. */
interface Hearers {
  /** It has a new channel; what is open for it has to be told again. */
  readonly onChannel: (now: Micros, device: Device) => void;
  /** One that polls is awake again, in the channel that it had. */
  readonly onPoll: (now: Micros, device: Device) => void;
  /** It has registered, in whichever channel: what was told while it was away is lost. */
  readonly onPresent: (now: Micros, device: Device) => void;
}

/** Registers terminals. */
export class Registrations {
  readonly #context: Context;
  readonly #names: Names;
  readonly #serverKeys: ServerKeyStatements;
  readonly #hearers: Hearers;

  constructor(context: Context, names: Names, serverKeys: ServerKeyStatements, hearers: Hearers) {
    this.#context = context;
    this.#names = names;
    this.#serverKeys = serverKeys;
    this.#hearers = hearers;
  }

  /**
   * Registration: a terminal says its name [41, S2000]. Refused if the name is not the one that is
   * bound to its device ID, or if it is the later one of two that live with one identity. The
   * answer goes where the question came from.
   */
  onRegister(now: Micros, device: Device, line: Line, message: MessageOf<'register'>): void {
    const { channels, counts } = this.#context;
    const { request, boot } = message;
    if (device.name !== message.name) return this.#refuse(device, line, request, 'name-taken');
    if (line.boot !== undefined && line.boot !== boot) {
      counts.unexpected += 1;
      return;
    }
    const { verdict, boots } = judgeBoot(device.boots, boot);
    device.boots = boots;
    if (verdict === 'banned') {
      this.#refuse(device, line, request, 'cloned');
      channels.refuse(device.id, line);
      return;
    }
    const isNew = channels.confirm(device.id, line, boot);
    if (verdict === 'returned') this.#alarm(now, device);
    device.registered = this.#context.wall.at(now);
    device.pollSeconds = message.pollSeconds;
    // Before the answer that lets it sleep again. A question that it knows has the same answer.
    if (!isNew && message.pollSeconds !== undefined) this.#hearers.onPoll(now, device);
    this.#context.sendDown(device.id, {
      kind: 'registered',
      request,
      name: device.name,
      membership: this.#names.membership(now, device),
      time: Math.max(0, this.#context.wall.at(now)),
      serverKeys: this.#serverKeys.statement,
      stun: this.#stun(),
    });
    if (isNew) this.#hearers.onChannel(now, device);
    this.#hearers.onPresent(now, device);
  }

  #stun(): MessageOf<'registered'>['stun'] {
    const { stun = [] } = this.#context.options;
    return stun.length === 0 ? undefined : stun.slice(0, LIMITS.meetingServersMax);
  }

  /**
   * The same identity lives twice: the operator is told at once, and the log at most once in
   * MANAGER_LIMITS.foldMs, so that two that take turns cannot fill it.
   */
  #alarm(now: Micros, device: Device): void {
    device.cloned = this.#context.wall.at(now);
    if (device.alarmFrom !== undefined && now < device.alarmFrom) return;
    device.alarmFrom = after(now, ms(MANAGER_LIMITS.foldMs));
    const { id, name } = device;
    this.#context.emit({ kind: 'alarm', alarm: 'cloned', device: id, name });
    this.#context.ledger.add(now, {
      entries: [{ kind: 'cloned', device: id, name }],
      writes: () => this.#names.rowOf(id),
      persisted: () => {},
    });
  }

  #refuse(device: Device, line: Line, request: MessageOf<'register'>['request'], code: Refused) {
    const refusal = encodeMessage({ kind: 'refusal', request, code });
    this.#context.publishDown(device.id, line.channel.seal(refusal));
  }
}
