// What the manager's parts share: keys, clocks, the queue in front of the disk, the way out, sealed
// for the terminal that it is for. Owned by the core in manager.ts; a part keeps nothing of another
// part's.

import { encodeMessage } from '../protocol/control/codec.ts';
import type { Message } from '../protocol/control/messages.ts';
import { QUERY_TOPIC, topic } from '../protocol/control/topics.ts';
import type { DeviceId, RequestId } from '../protocol/ids.ts';
import { Channels } from './channels.ts';
import { Deadlines } from './deadlines.ts';
import { Ledger } from './ledger.ts';
import type { ManagerCounts, ManagerOptions, ManagerOutput, Reply } from './manager-types.ts';
import { WallClock } from './wall-clock.ts';

/** Shared by the parts of one manager. */
export class Context {
  readonly options: ManagerOptions;
  readonly wall = new WallClock();
  readonly deadlines = new Deadlines();
  readonly ledger: Ledger;
  readonly channels: Channels;
  readonly outputs: ManagerOutput[] = [];
  readonly counts: ManagerCounts = {
    malformed: 0,
    unexpected: 0,
    unopened: 0,
    unsent: 0,
    overBound: 0,
    introduced: 0,
    refused: 0,
    badSignature: 0,
    limited: 0,
    unknownSession: 0,
    candidatesHeld: 0,
    triggersHanded: 0,
    triggersWaiting: 0,
    triggersExpired: 0,
  };

  constructor(options: ManagerOptions) {
    this.options = options;
    this.ledger = new Ledger({
      suite: options.suite,
      key: options.key,
      wall: this.wall,
      deadlines: this.deadlines,
      emit: (output) => this.emit(output),
    });
    const { suite, rng, agreementKey: localKey } = options;
    const sendPlain = (device: DeviceId, message: Message): void =>
      this.publishDown(device, encodeMessage(message));
    this.channels = new Channels({ suite, rng, localKey, counts: this.counts, sendPlain });
  }

  /**
   * Queues an output; the shell drains after every input. An input makes few: the most is a link
   * that came back, one trigger for each of LIMITS.introductionsMax open questions.
   */
  emit(output: ManagerOutput): void {
    this.outputs.push(output);
  }

  reply(to: number, reply: Reply): void {
    this.emit({ kind: 'reply', to, reply });
  }

  /** A message to a terminal, sealed; dropped and counted if it has no channel. */
  sendDown(device: DeviceId, message: Message): void {
    this.sendDownBytes(device, encodeMessage(message));
  }

  /** The same of a message that is encoded already: answers that are kept and repeated. */
  sendDownBytes(device: DeviceId, message: Uint8Array): void {
    const sealed = this.channels.seal(device, message);
    if (sealed === undefined) this.counts.unsent += 1;
    else this.publishDown(device, sealed);
  }

  /**
   * Asks the broker to hand `payload`, sealed, to a terminal within `deadlineMs` [S2002, S6005].
   * One without a channel is asked to make one, with the same deadline: what is open is then told
   * anew.
   */
  sendTrigger(
    device: DeviceId,
    trigger: {
      readonly request: RequestId;
      readonly deadlineMs: number;
      readonly payload: Message;
    },
  ): void {
    const { request, deadlineMs } = trigger;
    const payload =
      this.channels.seal(device, encodeMessage(trigger.payload)) ??
      encodeMessage({ kind: 'reseal', request });
    this.publish(topic('trigger', device), { kind: 'trigger', request, deadlineMs, payload });
  }

  sendQuery(message: Message): void {
    this.publish(QUERY_TOPIC, message);
  }

  /** Bytes as they are on a terminal's `down` topic: sealed, or of those few that go plain. */
  publishDown(device: DeviceId, bytes: Uint8Array): void {
    this.emit({ kind: 'publish', topic: topic('down', device), bytes });
  }

  publish(name: string, message: Message): void {
    this.emit({ kind: 'publish', topic: name, bytes: encodeMessage(message) });
  }
}
