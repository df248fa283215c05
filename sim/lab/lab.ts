// A laboratory of network namespaces: hosts, behind boxes that behave as their kind says, on one
// Internet whose links have delay, rate and loss; and what happens to them while programs run:
// rebinds, mappings that time out, UDP blocked, links down, a phone that goes from Wi-Fi to LTE.
// Needs root, nftables and, for links, /dev/net/tun. All is gone when we are, also after Ctrl-C.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { isIPv6 } from 'node:net';
import { atExit } from './clean-up.ts';
import { type BoxState, boxScript } from './boxes.ts';
import { DelayLine, type LinkShape, TUN_PACKETS } from './delay-line.ts';
import {
  type LabPlan,
  PUBLIC,
  type Station,
  type Uplink,
  defaultRoutes,
  mapOf,
  stationScript,
} from './map.ts';
import {
  type Side,
  addNamespaces,
  commandOn,
  ip,
  namespaceName,
  removeNamespaces,
  scriptIn,
  sweepNamespaces,
} from './namespaces.ts';

const PREFIX = 'nklab';
/** Milliseconds between a polite end of a process and a forced one. */
const END_MS_MAX = 3_000;
/** Bytes that a command may say. */
const SAID_BYTES_MAX = 4_000_000;
/** Hosts count what they send and hear of UDP, loopback aside. */
const TALLY = [
  "nft -f - <<'RULES'",
  'table inet tally {',
  ' counter sent {}',
  ' counter heard {}',
  ' chain out { type filter hook output priority 0;',
  '  oifname "up*" meta l4proto udp counter name sent; }',
  ' chain in { type filter hook input priority 0;',
  '  iifname "up*" meta l4proto udp counter name heard; }',
  '}',
  'RULES',
];
/** No UDP; but with the addresses of one host, if there is one. */
function blockScript(but: readonly string[]): readonly string[] {
  const passes = but.flatMap((address) => {
    const family = isIPv6(address) ? 'ip6' : 'ip';
    return [`${family} saddr ${address} accept;`, `${family} daddr ${address} accept;`];
  });
  return [
    "nft -f - <<'RULES'",
    'table inet blocked',
    'delete table inet blocked',
    'table inet blocked {',
    ...['input', 'output', 'forward'].flatMap((hook) => [
      ` chain ${hook} { type filter hook ${hook} priority -1;`,
      ...passes,
      ' meta l4proto udp drop; }',
    ]),
    '}',
    'RULES',
  ];
}

/** An access link: 12.5 ms one way, so that two hosts are 25 ms apart and a round trip is 50. */
export const ACCESS: LinkShape = {
  mbit: 100,
  oneWayMs: 12.5,
  queueBytes: 300_000,
  loss: 0,
  seed: 1,
};

/** What a command that ran to its end came to. */
export interface Ran {
  /** Exit code; undefined: it was ended by a signal. */
  readonly exit: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** What of UDP a host has sent and heard, in datagrams. */
interface UdpTally {
  readonly sent: number;
  readonly heard: number;
}

let labsEver = 0;

/** A lab that stands. */
export class Lab {
  readonly #map: ReadonlyMap<string, Station>;
  readonly #number = (labsEver += 1);
  readonly #boxes = new Map<string, BoxState>();
  readonly #lines: Uplink[] = [];
  readonly #loss = new Map<string, LinkShape>();
  readonly #children = new Set<ChildProcess>();
  #line: DelayLine | undefined;
  readonly #undo: () => void;

  private constructor(plan: LabPlan) {
    this.#map = mapOf(plan);
    const names = [...this.#map.keys()].map((name) => this.#namespace(name));
    this.#undo = atExit(() => {
      for (const child of this.#children) child.kill('SIGKILL');
      this.#line?.close();
      removeNamespaces(names);
    });
    addNamespaces(names);
  }

  /** Builds what a plan says. @throws Error if the machine cannot; nothing is left behind then. */
  static async open(plan: LabPlan): Promise<Lab> {
    sweepNamespaces(PREFIX);
    const lab = new Lab(plan);
    try {
      await lab.#build(plan.link);
      return lab;
    } catch (error) {
      lab.#undo();
      throw error;
    }
  }

  /** Where a host's programs run, and its first address (IPv4, if it has one). */
  side(host: string): Side {
    const [{ address, address6 }] = this.#station(host).uplinks;
    return { host: address ?? address6 ?? '', namespace: this.#namespace(host) };
  }

  /** IPv6 address of a host, in its first network. */
  address6(host: string): string | undefined {
    return this.#station(host).uplinks[0].address6;
  }

  /** A host's second public address. */
  otherAddress(host: string): string | undefined {
    return this.#station(host).uplinks[0].other;
  }

  /** A box's external address as it is now. */
  externalAddress(box: string): string {
    return this.#state(box).address;
  }

  /** Runs a program on a host to its end. */
  run(host: string, program: string, args: readonly string[], msMax = 60_000): Promise<Ran> {
    const [command, words] = commandOn(this.side(host), program, args);
    const options = { encoding: 'utf8', timeout: msMax, maxBuffer: SAID_BYTES_MAX } as const;
    return new Promise((resolve) => {
      const child = execFile(command, words, options, (_error, stdout, stderr) => {
        this.#children.delete(child);
        resolve({ exit: child.exitCode ?? undefined, stdout, stderr });
      });
      this.#children.add(child);
    });
  }

  /** Starts a program on a host; it is ended with the lab, or by `end`. */
  start(host: string, program: string, args: readonly string[], hasChannel = false): ChildProcess {
    const [command, words] = commandOn(this.side(host), program, args);
    const stdio = ['ignore', 'pipe', 'pipe', ...(hasChannel ? ['ipc' as const] : [])] as const;
    const child = spawn(command, words, { stdio: [...stdio] });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  /** Ends a program that was started here; resolves when it is gone. */
  async end(child: ChildProcess): Promise<void> {
    if (!this.#children.has(child)) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), END_MS_MAX);
    await gone;
    clearTimeout(timer);
  }

  /**
   * A box forgets all mappings: `flush`, and the same may come again; `port`, and sockets get other
   * ports; `address`, and it has its other address.
   */
  rebind(box: string, what: 'flush' | 'port' | 'address'): void {
    const state = this.#state(box);
    const [{ address, other, device }] = this.#station(box).uplinks;
    const next = state.address === address ? other : address;
    const isMove = what === 'address' && next !== undefined;
    const changed = {
      ...state,
      address: isMove ? next : state.address,
      portShift: state.portShift + (what === 'port' ? 1 : 0),
    };
    this.#boxes.set(box, changed);
    // One process for all: what takes long here is part of a stall that is measured.
    scriptIn(this.#namespace(box), [
      ...(isMove ? [`ip address add ${next}/32 dev ${device}`] : []),
      ...boxScript(changed),
      ...(isMove
        ? [`ip address del ${state.address}/32 dev ${device}`, ...this.#defaults(box, 0)]
        : []),
      'conntrack -F 2>/dev/null',
    ]);
  }

  /** Mappings that begin from now on are forgotten after so many seconds without a packet. */
  forgetAfter(box: string, timeoutSeconds: number): void {
    this.#make(box, { ...this.#state(box), timeoutSeconds });
  }

  /** Whether UDP passes a host or box at all, either way; `but`: with that host it does. */
  blockUdp(name: string, isBlocked: boolean, but?: string): void {
    const { host } = but === undefined ? { host: undefined } : this.side(but);
    const passes = [host, but && this.address6(but)].filter((one) => one !== undefined);
    const lines = isBlocked ? blockScript(passes) : ['nft delete table inet blocked'];
    scriptIn(this.#namespace(name), lines);
  }

  /** Takes an uplink down, or up again with the routes that it had. */
  setUp(name: string, isUp: boolean, at = 0): void {
    const { device } = this.#station(name).uplinks[at];
    scriptIn(this.#namespace(name), [
      `ip link set ${device} ${isUp ? 'up' : 'down'}`,
      ...(isUp ? this.#defaults(name, at) : []),
    ]);
  }

  /** A host goes to the uplink of that number; the one that it comes from goes down. */
  move(host: string, { from, to }: { readonly from: number; readonly to: number }): void {
    this.setUp(host, true, to);
    this.setUp(host, false, from);
    // Routes of a device go with it, and a default one may have been that of the other.
    scriptIn(this.#namespace(host), this.#defaults(host, to));
  }

  /** Loss of a host's or box's own link to the public network, 0 to 1; delay, if it changes. */
  setLink(name: string, change: Partial<Pick<LinkShape, 'loss' | 'oneWayMs'>>): void {
    const at = this.#lines.findIndex((uplink) => uplink.name === name);
    const known = this.#loss.get(name);
    if (known === undefined) throw new Error(`${name} has no link of the delay line`);
    const shape = { ...known, ...change };
    this.#loss.set(name, shape);
    this.#line?.change(at, shape);
  }

  /** Names of all whose own link is one of the delay line. */
  get links(): readonly string[] {
    return this.#lines.map(({ name }) => name);
  }

  /** What of UDP a host has sent and heard since the lab was opened. */
  udp(host: string): UdpTally {
    const said = scriptIn(this.#namespace(host), ['nft list counters table inet tally']);
    const of = (name: string): number =>
      Number(new RegExp(`counter ${name} \\{\\s*packets (\\d+)`).exec(said)?.[1] ?? Number.NaN);
    return { sent: of('sent'), heard: of('heard') };
  }

  /** Gives a host an address that is somebody else's, to send from (RFC 2827 is why it may not). */
  spoof(host: string, address: string): void {
    scriptIn(this.#namespace(host), [`ip address add ${address}/32 dev lo`]);
  }

  /** Ends all programs and removes everything. Repeated calls are harmless. */
  async close(): Promise<void> {
    await Promise.all([...this.#children].map((child) => this.end(child)));
    this.#undo();
  }

  async #build(link: LinkShape | undefined): Promise<void> {
    const stations = [...this.#map.values()];
    for (const uplink of stations.flatMap(({ uplinks }) => uplinks)) {
      const [below, above] = [this.#namespace(uplink.name), this.#namespace(uplink.parent)];
      if (uplink.isLine) this.#lines.push(uplink);
      else {
        const peer = ['type', 'veth', 'peer', 'name', uplink.parentDevice, 'netns', above];
        ip('link', 'add', uplink.device, 'netns', below, ...peer);
      }
    }
    if (link !== undefined) await this.#startLine(link);
    for (const station of stations) {
      const { name, role, box, uplinks } = station;
      scriptIn(this.#namespace(name), [
        ...stationScript(station, this.#map, TUN_PACKETS),
        ...(role === 'host' ? TALLY : []),
      ]);
      if (box !== undefined)
        this.#make(name, { ...box, address: uplinks[0].address ?? '', portShift: 0 });
    }
  }

  async #startLine(link: LinkShape): Promise<void> {
    const wishes = this.#lines.map((uplink, at) => {
      // Losses of one link say nothing about those of another.
      const shape = { ...link, seed: link.seed * 1_000 + at };
      this.#loss.set(uplink.name, shape);
      const a = { namespace: this.#namespace(uplink.name), device: uplink.device };
      const b = { namespace: this.#namespace(PUBLIC), device: uplink.parentDevice };
      return { a, b, shape };
    });
    if (wishes.length > 0) this.#line = await DelayLine.start(wishes);
  }

  #make(box: string, state: BoxState): void {
    this.#boxes.set(box, state);
    scriptIn(this.#namespace(box), boxScript(state));
  }

  #defaults(name: string, at: number): readonly string[] {
    return defaultRoutes(this.#station(name).uplinks[at]).map((line) => `ip ${line}`);
  }

  #namespace(name: string): string {
    return namespaceName(PREFIX, `${this.#number}-${name}`);
  }

  #station(name: string): Station {
    const station = this.#map.get(name);
    if (station === undefined) throw new Error(`nobody is called ${name}`);
    return station;
  }

  #state(box: string): BoxState {
    const state = this.#boxes.get(box);
    if (state === undefined) throw new Error(`no box is called ${box}`);
    return state;
  }
}
