// What every driver of the lab shares. A driver is one end of a flow, in a process of its own:
//
//   DRIVER receive PLAN        says {"ready":true, …} with what the sender needs, then every 50 ms
//                              {"at":µs,"bytes":n}, and {"done":true,"at":µs} at the planned bytes
//   DRIVER send PLAN HELLO     HELLO is the receiver's ready line; says {"began":µs}, then sends
//                              until it is ended, or the planned bytes
//
// Both end on SIGTERM. Times are of CLOCK_MONOTONIC, which all processes of a machine share.

import type { Writable } from 'node:stream';

/** Milliseconds between two words about progress. */
const PROGRESS_MS = 50;
const CHUNK_BYTES = 65_536;

/** What a driver is asked to do; drivers take what they know of it. */
export interface Plan {
  /** The receiver's address. */
  readonly host: string;
  /** Bytes to move; 0: until ended. */
  readonly bytes: number;
  readonly [more: string]: unknown;
}

/** A driver's command line, parsed. */
interface Task {
  readonly role: 'receive' | 'send';
  readonly plan: Plan;
  /** The receiver's ready line; empty for the receiver. */
  readonly hello: Readonly<Record<string, unknown>>;
}

/** What this process was started for; ends it on SIGTERM. */
export function task(): Task {
  const [role, plan, hello] = process.argv.slice(2);
  // Ctrl-C goes to everybody; whoever started this ends it.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => process.exit(0));
  return {
    role: role === 'receive' ? 'receive' : 'send',
    plan: JSON.parse(plan) as Plan,
    hello: JSON.parse(hello ?? '{}') as Task['hello'],
  };
}

/** One line of JSON to whoever started this. */
export function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** Microseconds that all processes of this machine count alike. */
export const microseconds = (): number => Number(process.hrtime.bigint() / 1_000n);

/** Counts what arrives and tells of it. */
export class Arrivals {
  readonly #planned: number;
  #bytes = 0;

  /** `planned`: bytes after which it is done; 0: never. */
  constructor(planned: number) {
    this.#planned = planned;
    setInterval(() => say({ at: microseconds(), bytes: this.#bytes }), PROGRESS_MS);
  }

  /** These bytes arrived. */
  add(bytes: number): void {
    const before = this.#bytes;
    this.#bytes += bytes;
    const isDone = this.#planned > 0 && before < this.#planned && this.#bytes >= this.#planned;
    if (isDone) say({ done: true, at: microseconds(), bytes: this.#bytes });
  }
}

/** Writes the same chunk over and over, as fast as the stream takes it; `bytes` 0: for ever. */
export function pump(stream: Writable, bytes: number): void {
  const chunk = new Uint8Array(CHUNK_BYTES).fill(0x6e);
  let left = bytes === 0 ? Infinity : bytes;
  const write = (): void => {
    while (left > 0) {
      const next = left < chunk.length ? chunk.subarray(0, left) : chunk;
      left -= next.length;
      if (!stream.write(next)) return;
    }
    stream.off('drain', write);
  };
  stream.on('drain', write);
  // A receiver that has what it wanted goes away.
  stream.on('error', () => {});
  write();
}
