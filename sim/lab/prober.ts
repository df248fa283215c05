// Sockets on a host of a lab, in the hands of the process that built the lab: bind, ask a server
// where one is seen, say a word, hear one, punch. The sockets are those of a child in the host's
// namespace (probe.ts); this is its remote control.

import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { Lab } from './lab.ts';

const PROBE = join(import.meta.dirname, 'probe.js');
/** Milliseconds for a probe to start, on a busy machine. */
const START_MS_MAX = 20_000;
const ANSWER_MS = 3_000;

/** An address and port. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** How to punch: words to `to`, `rounds` of them, `everyMs` apart, the first after `afterMs`. */
interface PunchPlan {
  readonly to: Address;
  readonly everyMs: number;
  readonly rounds: number;
  /** Whether who is heard from elsewhere is answered there. */
  readonly answersSeen: boolean;
  readonly afterMs: number;
}

/** The order to punch. */
export interface PunchOrder extends PunchPlan {
  readonly what: 'punch';
  readonly socket: number;
}

/** What a probe is told. */
export type Order = { readonly id: number } & (
  | { readonly what: 'bind'; readonly host: string; readonly port: number }
  | { readonly what: 'ask'; readonly socket: number; readonly to: Address; readonly ms: number }
  | { readonly what: 'say'; readonly socket: number; readonly to: Address }
  | { readonly what: 'hear'; readonly socket: number; readonly ms: number }
  | PunchOrder
);

/** What it answers. */
export interface Answer {
  readonly socket?: number;
  readonly address?: Address | undefined;
  /** Milliseconds to the first word heard. */
  readonly heardMs?: number | undefined;
  readonly sent?: number;
}

type Unnumbered<O> = O extends unknown ? Omit<O, 'id'> : never;

/** A socket on a host. */
export interface ProbeSocket {
  /** As it is bound: the host's own address. */
  readonly local: Address;
  /** Where a server sees it; undefined: it answers not. */
  readonly ask: (server: Address, ms?: number) => Promise<Address | undefined>;
  readonly say: (to: Address) => Promise<void>;
  /** Who said the next word; undefined: nobody in time. */
  readonly hear: (ms: number) => Promise<Address | undefined>;
  /** Milliseconds to the first word heard, if any, and how many were sent. */
  readonly punch: (plan: PunchPlan) => Promise<{ heardMs: number | undefined; sent: number }>;
}

/** One host's probe. */
export class Prober {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #host: string;
  #ordersEver = 0;

  private constructor(child: ChildProcess, host: string) {
    this.#child = child;
    this.#host = host;
    child.on('message', (message) => {
      const { id, ...answer } = message as Answer & { readonly id: number };
      this.#waiting.get(id)?.(answer);
      this.#waiting.delete(id);
    });
  }

  /** Starts one on a host; it ends with the lab. @throws Error if it does not start. */
  static async start(lab: Lab, name: string): Promise<Prober> {
    // Test runners put loaders into the environment of each child; a probe has no use for them.
    const words = ['-u', 'NODE_OPTIONS', process.execPath, PROBE];
    const child = lab.start(name, 'env', words, true);
    const prober = new Prober(child, lab.side(name).host);
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Error(`the probe of ${name} is mute`)),
        START_MS_MAX,
      );
      prober.#waiting.set(0, () => {
        clearTimeout(late);
        resolve();
      });
      child.once('exit', () => reject(new Error(`the probe of ${name} ended`)));
    });
    return prober;
  }

  /** Opens a socket: on the host's first address, unless another is named, and any free port. */
  async bind({ host = this.#host, port = 0 }: Partial<Address> = {}): Promise<ProbeSocket> {
    const { socket, address } = await this.#tell({ what: 'bind', host, port });
    if (socket === undefined || address === undefined) throw new Error('no socket');
    return {
      local: address,
      ask: async (to, ms = ANSWER_MS) =>
        (await this.#tell({ what: 'ask', socket, to, ms })).address,
      say: async (to) => void (await this.#tell({ what: 'say', socket, to })),
      hear: async (ms) => (await this.#tell({ what: 'hear', socket, ms })).address,
      punch: async (plan) => {
        const { heardMs, sent = 0 } = await this.#tell({ what: 'punch', socket, ...plan });
        return { heardMs, sent };
      },
    };
  }

  #tell(order: Unnumbered<Order>): Promise<Answer> {
    const id = (this.#ordersEver += 1);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, resolve);
      this.#child.send({ ...order, id }, (error) => {
        if (error !== null) reject(error);
      });
    });
  }
}
