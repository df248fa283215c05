// Whether this machine's network is still the one that its talks began in: its addresses and its
// default routes, compared every second while a socket is open, and whether the machine has slept.
// An idle terminal looks at nothing. Node tells of no change by itself; a look is three short
// reads. What goes on inside the machine is no other network: a bridge for containers comes and
// goes, and no talk notices.

import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { MICROS_PER_MS, MS_PER_SECOND, micros, ms } from '../../protocol/time.ts';
import { TokenBucket } from '../../protocol/token-bucket.ts';
import { type HostAddress, hostAddresses, ownInterfaces } from './host-addresses.ts';

/** Milliseconds between two looks. */
const LOOK_MS = 1_000;
/** The first one: after the candidates were gathered, out of a set-up's way. */
const FIRST_LOOK_MS = 100;
/** So much later than it was due, or longer by the clock that goes on in sleep: it has slept. */
const SLEPT_MS = 5_000;
/** Changes that are told one after the other, and milliseconds to each further one. */
const CHANGES_BURST = 16;
const CHANGE_EVERY_MS = 15_000;
/** Bytes of a table of routes that are read: some hundred routes, the default ones first. */
const ROUTES_BYTES_MAX = 65_536;
/** Where Linux says what an interface is. */
const INTERFACES = '/sys/class/net';
/** ARPHRD_ETHER: what a cable, Wi-Fi and also a bridge are (Linux, if_arp.h). */
const ETHERNET = '1';
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
  readonly #rate = new TokenBucket(CHANGES_BURST, ms(CHANGE_EVERY_MS));

  constructor(options: NetworkWatchOptions) {
    this.#onChange = options.onChange;
    this.#look = options.look ?? lookAtSystem();
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
    if (now !== before) {
      if (this.#rate.take(micros(Math.round(awakeMs * MICROS_PER_MS)))) this.#onChange('network');
      // A network that flaps is compared with the one that was told last.
      else this.#seen = before;
    } else if (passedMs - this.#everyMs > SLEPT_MS) this.#onChange('woken');
  }
}

/** Default routes of this machine, and its addresses that count, as one text. */
function lookAtSystem(): () => string {
  const buffer = Buffer.allocUnsafe(ROUTES_BYTES_MAX);
  let lastSeen: string | undefined;
  let lastText = '';
  return () => {
    const addresses = hostAddresses(ownInterfaces());
    const [ipv4, ipv6] = ['/proc/net/route', '/proc/net/ipv6_route'].map((path) =>
      headOf(path, buffer),
    );
    const routes = defaultRoutes(ipv4, ipv6);
    const seen = [...textsOf(addresses), ...routes].sort().join('\n');
    // What kind of interface each is, is looked up after a change alone.
    if (seen !== lastSeen) {
      lastText = [...textsOf(addressesOut(addresses, routes, isInside)), ...routes]
        .sort()
        .join('\n');
    }
    lastSeen = seen;
    return lastText;
  };
}

const textsOf = (addresses: readonly HostAddress[]): readonly string[] =>
  addresses.map((one) => `${one.interface} ${one.host}`);

/**
 * The addresses by which this machine may reach others: those of interfaces with a default route
 * (`routes`, of defaultRoutes), and of any that is not inside the machine. Without a default route
 * all of them.
 */
export function addressesOut(
  addresses: readonly HostAddress[],
  routes: readonly string[],
  isWithin: (name: string) => boolean,
): readonly HostAddress[] {
  const ways = new Set(routes.map((route) => route.split(' ', 1)[0]));
  if (ways.size === 0) return addresses;
  return addresses.filter((one) => {
    // An address may have a label behind its interface's name.
    const [name] = one.interface.split(':', 1);
    return ways.has(name) || !isWithin(name);
  });
}

/** Ethernet without hardware: a bridge or one end of a cable between containers. */
function isInside(name: string): boolean {
  const folder = join(INTERFACES, name);
  try {
    const type = readFileSync(join(folder, 'type'), 'latin1').trim();
    return type === ETHERNET && !existsSync(join(folder, 'device'));
  } catch {
    // Another system than Linux, or gone meanwhile.
    return false;
  }
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

/** The whole lines in the first bytes of a file, as many as `into` holds; none without it. */
export function headOf(path: string, into: Buffer): string {
  let file: number | undefined;
  let size = 0;
  try {
    file = openSync(path, 'r');
    for (;;) {
      const read = readSync(file, into, size, into.length - size, null);
      size += read;
      if (read === 0 || size === into.length) break;
    }
  } catch {
    // Another system than Linux: addresses alone tell.
  } finally {
    if (file !== undefined) closeSync(file);
  }
  const text = into.toString('latin1', 0, size);
  return text.slice(0, text.lastIndexOf('\n') + 1);
}
