// Pings over a talk that a command holds: small numbered messages that the peer's agent sends back.
// Each is sent once and never again, so a lost one is seen. The round trip is measured in the
// command: two passages through the local agent are in it, some tenths of a millisecond.

import { setTimeout as delay } from 'node:timers/promises';
import type { CommandTalk } from './talk.ts';

/** Milliseconds after the last ping in which answers still count. */
const LATE_MS = 2_000;
/** Bytes of a ping: its number, and as much again as a small datagram of media has. */
const MESSAGE_BYTES = 32;

/** How pings are sent. */
interface PingOptions {
  readonly count: number;
  /** Milliseconds between two. */
  readonly intervalMs: number;
  /** Hears each answer; `number`: from 1. */
  readonly onAnswer?: (number: number, rttMs: number) => void;
}

/** What came of them. */
export interface PingCounts {
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
  /** Milliseconds; undefined: nothing came back. */
  readonly rttMs?: { readonly min: number; readonly average: number; readonly max: number };
}

/**
 * Pings the peer of a talk of the service `ping`. An end of the talk ends it early, with what was
 * counted until then; the talk's own promise says why.
 */
export async function pingTalk(talk: CommandTalk, options: PingOptions): Promise<PingCounts> {
  const messages = await talk.messages();
  const tally = new Tally(options);
  let isOver = false;
  const onOver = (): void => {
    isOver = true;
  };
  const over = talk.ended.then(onOver, onOver);
  const listening = (async () => {
    for await (const message of messages.arriving()) tally.heard(Buffer.from(message));
  })();
  listening.catch(() => {});
  for (let number = 1; number <= options.count && !isOver; number++) {
    const message = Buffer.alloc(MESSAGE_BYTES);
    message.writeUInt32BE(number);
    tally.sent(number);
    await Promise.race([messages.send(message), over]);
    const pause = number < options.count ? options.intervalMs : LATE_MS;
    await Promise.race([tally.all, delay(pause, undefined, { ref: false }), over]);
  }
  messages.close();
  return tally.counts;
}

/** Counts, and measures. */
class Tally {
  /** Resolves when every ping was answered. */
  readonly all: Promise<void>;
  readonly #options: PingOptions;
  /** Pings without an answer, by number: when they were sent. */
  readonly #sentAt = new Map<number, number>();
  #finish: () => void = () => {};
  #sent = 0;
  #received = 0;
  #sum = 0;
  #min = Infinity;
  #max = 0;

  constructor(options: PingOptions) {
    this.#options = options;
    this.all = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  sent(number: number): void {
    this.#sent += 1;
    this.#sentAt.set(number, performance.now());
  }

  heard(message: Buffer): void {
    if (message.length !== MESSAGE_BYTES) return;
    const number = message.readUInt32BE();
    const sentAt = this.#sentAt.get(number);
    // One that comes twice counts once.
    if (sentAt === undefined) return;
    this.#sentAt.delete(number);
    const rttMs = performance.now() - sentAt;
    this.#received += 1;
    this.#sum += rttMs;
    this.#min = Math.min(this.#min, rttMs);
    this.#max = Math.max(this.#max, rttMs);
    this.#options.onAnswer?.(number, rttMs);
    if (this.#received === this.#options.count) this.#finish();
  }

  get counts(): PingCounts {
    const received = this.#received;
    const counted = { sent: this.#sent, received, lost: this.#sent - received };
    if (received === 0) return counted;
    const rttMs = { min: this.#min, average: this.#sum / received, max: this.#max };
    return { ...counted, rttMs };
  }
}
