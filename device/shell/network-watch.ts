// Whether this machine's network is still the one that its talks began in: its addresses and its
// default routes, compared every second while a socket is open, and whether the machine has slept.
// An idle terminal looks at nothing. Node tells of no change by itself; a look is three short
// reads.

import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { MS_PER_SECOND } from '../../protocol/time.ts';
import { hostAddresses, ownInterfaces } from './host-addresses.ts';

/** Milliseconds between two looks. */
const LOOK_MS = 1_000;
/** The first one: after the candidates were gathered, out of a set-up's way. */
const FIRST_LOOK_MS = 100;
/** So much later than it was due, or longer by the clock that goes on in sleep: it has slept. */
const SLEPT_MS = 5_000;
/** Characters of a table of routes that are looked at: some hundred routes. */
const ROUTES_MAX = 65_536;
/** Columns of /proc/net/route and /proc/net/ipv6_route (Linux). */
const IPV4_COLUMNS = { interface: 0, destination: 1, gateway: 2, metric: 6, mask: 7 } as const;
const IPV6_COLUMNS = { destination: 0, bits: 1, gateway: 4, metric: 5, interface: 9 } as const;
const IPV4_ALL = '00000000';
const IPV6_ALL = '0'.repeat(32);

/** What changed. */
export type NetworkChange = 'network' | 'woken';

interface NetworkWatchOptions {
  /** After a change, and again if it goes on. */
  readonly onChange: (change: NetworkChange) => void;
  /** Anything that is another text in another network; default: addresses and default routes. */
  readonly look?: () => string;
  /**
   * Milliseconds of a clock that stands still while the machine sleeps, and of one that goes on.
   */
  readonly awakeMs?: () => number;
  readonly alwaysMs?: () => number;
  /** Between two looks. */
  readonly everyMs?: number;
}

/** Watches the network of this machine while it is asked to. */
export class NetworkWatch {
  readonly #onChange: (change: NetworkChange) => void;
  readonly #look: () => string;
  readonly #awakeMs: () => number;
  readonly #alwaysMs: () => number;
  readonly #everyMs: number;
  #timer: NodeJS.Timeout | undefined;
  #seen: string | undefined;
  #seenAwakeMs = 0;
  #seenAlwaysMs = 0;

  constructor(options: NetworkWatchOptions) {
    this.#onChange = options.onChange;
    this.#look = options.look ?? networkText;
    this.#awakeMs = options.awakeMs ?? (() => performance.now());
    this.#alwaysMs = options.alwaysMs ?? (() => uptime() * MS_PER_SECOND);
    this.#everyMs = options.everyMs ?? LOOK_MS;
  }

  /** Looks from now on; again, it goes on. */
  watch(): void {
    this.#timer ??= setTimeout(() => this.#again(), Math.min(FIRST_LOOK_MS, this.#everyMs)).unref();
  }

  /** Looks no more. */
  rest(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#seen = undefined;
  }

  #again(): void {
    this.#timer = setTimeout(() => this.#again(), this.#everyMs).unref();
    const now = this.#look();
    const [awakeMs, alwaysMs] = [this.#awakeMs(), this.#alwaysMs()];
    const before = this.#seen;
    const passedMs = Math.max(awakeMs - this.#seenAwakeMs, alwaysMs - this.#seenAlwaysMs);
    this.#seen = now;
    this.#seenAwakeMs = awakeMs;
    this.#seenAlwaysMs = alwaysMs;
    if (before === undefined) return;
    if (now !== before) this.#onChange('network');
    else if (passedMs - this.#everyMs > SLEPT_MS) this.#onChange('woken');
  }
}

/** Addresses and default routes of this machine, as one text. */
function networkText(): string {
  const addresses = hostAddresses(ownInterfaces()).map((one) => `${one.interface} ${one.host}`);
  const routes = defaultRoutes(proc('/proc/net/route'), proc('/proc/net/ipv6_route'));
  return [...addresses, ...routes].sort().join('\n');
}

/** The default routes in the kernel's two tables, without what is counted in them. */
export function defaultRoutes(ipv4: string, ipv6: string): readonly string[] {
  const rows = (text: string): readonly (readonly string[])[] =>
    text.split('\n').map((line) => line.trim().split(/\s+/));
  const at = (row: readonly string[], columns: readonly number[]): string =>
    columns.map((column) => row[column]).join(' ');
  const four = IPV4_COLUMNS;
  const six = IPV6_COLUMNS;
  return [
    ...rows(ipv4)
      .filter((row) => row[four.destination] === IPV4_ALL && row[four.mask] === IPV4_ALL)
      .map((row) => at(row, [four.interface, four.gateway, four.metric])),
    ...rows(ipv6)
      .filter((row) => row[six.destination] === IPV6_ALL && row[six.bits] === '00')
      // What refuses all other destinations stands on loopback.
      .filter((row) => row[six.interface] !== 'lo')
      .map((row) => at(row, [six.interface, six.gateway, six.metric])),
  ];
}

function proc(path: string): string {
  try {
    return readFileSync(path, 'latin1').slice(0, ROUTES_MAX);
  } catch {
    // Another system than Linux: addresses alone tell.
    return '';
  }
}
