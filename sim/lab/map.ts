// Who stands where in a lab, computed from its plan: namespaces, links, addresses, routes. One
// namespace is the Internet; hosts and boxes hang on it or on a box, each by a link of its own, as
// point-to-point routes: there is no bridge, so that nothing goes astray at layer 2. All homes have
// the same inner addresses, as homes have.

import { NAT_KINDS } from '../network/nat.ts';
import type { LinkShape } from './delay-line.ts';
import type { BoxKind, BoxOptions } from './boxes.ts';

/** Name of the public network where a plan asks behind what something stands. */
export const PUBLIC = 'public';
/** Uplinks of a lab: one block of public addresses. */
const UPLINKS_MAX = 250;
/** RFC 5737, RFC 3849: for documentation, so that nobody is reached by accident. */
const ADDRESSES = '198.51.100.';
const OTHER_ADDRESSES = '203.0.113.';
const ADDRESSES_6 = '2001:db8:0:';
/** Inside a home (RFC 1918), and inside a carrier (RFC 6598); the gateway is the first address. */
const HOME = '192.168.1.';
const CARRIER = '100.64.0.';
const GATEWAY = 1;
const FIRST = 2;
/** Other addresses of boxes behind a carrier, which they get by a rebind. */
const OTHER = 100;
const PUBLIC_GATEWAY = '192.0.2.254';
/** The same at the upper end of every link. */
const GATEWAY_6 = 'fe80::1';
/** The same at the lower ends. */
const LOWER_6 = 'fe80::2';

/** Address families that a host has. */
type Families = 'ipv4' | 'ipv6' | 'both';

/** A box of a plan. */
export interface BoxPlan extends BoxOptions {
  readonly kind: BoxKind;
  /** Another box, a carrier's; else it stands in the public network. */
  readonly behind?: string;
}

/** A host of a plan. */
export interface HostPlan {
  /** Boxes by name, or PUBLIC; one uplink for each, the first one is used. Default: PUBLIC. */
  readonly behind?: readonly string[];
  /** Default: ipv4. */
  readonly families?: Families;
  /** It has a second public address as well, as a STUN server does. */
  readonly hasOther?: boolean;
}

/** What a lab is made of. Names: letters, digits. */
export interface LabPlan {
  readonly boxes?: Readonly<Record<string, BoxPlan>>;
  readonly hosts: Readonly<Record<string, HostPlan>>;
  /** Each link to the public network; undefined: at once, without loss. */
  readonly link?: LinkShape;
}

/** A link, seen from below: from a host or box to the box or network that it hangs on. */
export interface Uplink {
  readonly name: string;
  readonly device: string;
  readonly parent: string;
  readonly parentDevice: string;
  readonly address: string | undefined;
  /** What a rebind may change the address to. */
  readonly other: string | undefined;
  readonly address6: string | undefined;
  /** The network below. */
  readonly prefix6: string;
  readonly gateway: string;
  readonly gateway6: string;
  /** A TUN device of the delay line: it hangs on the public network. */
  readonly isLine: boolean;
}

/** A namespace of a lab. */
export interface Station {
  readonly name: string;
  readonly role: 'internet' | 'box' | 'host';
  readonly box: BoxPlan | undefined;
  readonly host: HostPlan | undefined;
  readonly uplinks: readonly Uplink[];
  /** Addresses by which it is the gateway of those below. */
  readonly gateways: readonly string[];
}

/** Stations by name, the public network first. @throws Error for a plan that names nobody. */
export function mapOf(plan: LabPlan): ReadonlyMap<string, Station> {
  const boxes = plan.boxes ?? {};
  const carriers = carriersOf(plan);
  const used = new Map<string, number>();
  let uplinksEver = 0;

  const uplinkOf = (name: string, parent: string, at: number, families: Families): Uplink => {
    if (parent !== PUBLIC && !(parent in boxes)) throw new Error(`no box is called ${parent}`);
    const number = (uplinksEver += 1);
    if (number > UPLINKS_MAX) throw new Error(`a lab has at most ${UPLINKS_MAX} uplinks`);
    const below = used.get(parent) ?? 0;
    used.set(parent, below + 1);
    // What does not translate shows the public addresses of those behind it.
    const isPublic = parent === PUBLIC || !NAT_KINDS[boxes[parent].kind].translates;
    const inside = carriers.has(parent) ? CARRIER : HOME;
    const [own, other] = isPublic
      ? [`${ADDRESSES}${number}`, `${OTHER_ADDRESSES}${number}`]
      : [`${inside}${below + FIRST}`, `${inside}${below + OTHER}`];
    const has4 = families !== 'ipv6';
    const prefix6 = `${ADDRESSES_6}${number.toString(16)}::`;
    return {
      name,
      device: `up${at}`,
      parent,
      parentDevice: `d${below}`,
      address: has4 ? own : undefined,
      other: has4 ? other : undefined,
      address6: families === 'ipv4' ? undefined : `${prefix6}2`,
      prefix6: `${prefix6}/64`,
      gateway: parent === PUBLIC ? PUBLIC_GATEWAY : `${inside}${GATEWAY}`,
      gateway6: GATEWAY_6,
      isLine: parent === PUBLIC && plan.link !== undefined,
    };
  };

  const stations = new Map<string, Station>();
  const internet = { name: PUBLIC, role: 'internet', box: undefined, host: undefined } as const;
  stations.set(PUBLIC, { ...internet, uplinks: [], gateways: [PUBLIC_GATEWAY] });
  for (const [name, box] of Object.entries(boxes)) {
    const uplinks = [uplinkOf(name, box.behind ?? PUBLIC, 0, 'both')];
    const gateways = [`${carriers.has(name) ? CARRIER : HOME}${GATEWAY}`];
    stations.set(name, { name, role: 'box', box, host: undefined, uplinks, gateways });
  }
  for (const [name, host] of Object.entries(plan.hosts)) {
    if (stations.has(name)) throw new Error(`two are called ${name}`);
    const uplinks = (host.behind ?? [PUBLIC]).map((parent, at) =>
      uplinkOf(name, parent, at, host.families ?? 'ipv4'),
    );
    stations.set(name, { name, role: 'host', box: undefined, host, uplinks, gateways: [] });
  }
  return stations;
}

/** Boxes that have boxes behind them, or are somebody's second uplink: what a phone has. */
function carriersOf({ boxes = {}, hosts }: LabPlan): ReadonlySet<string> {
  return new Set([
    ...Object.values(boxes).flatMap(({ behind }) => (behind === undefined ? [] : [behind])),
    ...Object.values(hosts).flatMap(({ behind = [] }) => behind.slice(1)),
  ]);
}

/** Lines of a shell that give a station its devices, addresses and routes; its links are there. */
export function stationScript(
  station: Station,
  all: ReadonlyMap<string, Station>,
  queuePackets: number,
): readonly string[] {
  const isRouter = station.role !== 'host';
  const has6 = isRouter || (station.host?.families ?? 'ipv4') !== 'ipv4';
  const below = [...all.values()].flatMap(({ uplinks }) =>
    uplinks.filter(({ parent }) => parent === station.name),
  );
  return [
    `echo ${has6 ? 0 : 1} > /proc/sys/net/ipv6/conf/all/disable_ipv6`,
    `echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter`,
    ...(isRouter
      ? [
          'echo 1 > /proc/sys/net/ipv4/ip_forward',
          'echo 1 > /proc/sys/net/ipv6/conf/all/forwarding',
        ]
      : []),
    "ip -batch - <<'COMMANDS'",
    ...station.gateways.map((gateway) => `address add ${gateway}/32 dev lo`),
    ...below.flatMap((uplink) => [
      ...deviceLines(uplink.parentDevice, uplink, queuePackets),
      `address add ${uplink.gateway6}/64 dev ${uplink.parentDevice} nodad`,
      ...routesTo(uplink),
      `route add ${uplink.prefix6} via ${LOWER_6} dev ${uplink.parentDevice}`,
    ]),
    ...routesBelow(all, below),
    ...station.uplinks.flatMap((uplink, at) => [
      ...deviceLines(uplink.device, uplink, queuePackets),
      ...addressLines(uplink, station),
      ...(at === 0 ? defaultRoutes(uplink) : []),
    ]),
    'COMMANDS',
  ];
}

function deviceLines(device: string, { isLine }: Uplink, queuePackets: number): readonly string[] {
  const queue = isLine ? ` txqueuelen ${queuePackets}` : '';
  return [`link set ${device} addrgenmode none`, `link set ${device} mtu 1500${queue} up`];
}

function routesTo({ address, other, parentDevice }: Uplink, via = ''): readonly string[] {
  return [address, other].flatMap((each) =>
    each === undefined ? [] : [`route add ${each}/32${via} dev ${parentDevice}`],
  );
}

/** What stands behind boxes below, and shows through them, is reached through them. */
function routesBelow(
  all: ReadonlyMap<string, Station>,
  below: readonly Uplink[],
): readonly string[] {
  const behind = (name: string): readonly Uplink[] =>
    [...all.values()].flatMap(({ uplinks }) => uplinks.filter(({ parent }) => parent === name));
  const farther = (name: string): readonly Uplink[] =>
    behind(name).flatMap((uplink) => [uplink, ...farther(uplink.name)]);
  return below.flatMap(({ name, address, parentDevice }) => {
    const box = all.get(name)?.box;
    if (box === undefined) return [];
    return [
      ...(NAT_KINDS[box.kind].translates ? [] : behind(name)).flatMap((uplink) =>
        routesTo({ ...uplink, parentDevice }, ` via ${address} onlink`),
      ),
      ...farther(name).map(
        ({ prefix6 }) => `route add ${prefix6} via ${LOWER_6} dev ${parentDevice}`,
      ),
    ];
  });
}

function addressLines(uplink: Uplink, { host, role }: Station): readonly string[] {
  const { address, other, address6, device } = uplink;
  const has6 = address6 !== undefined;
  return [
    ...(address === undefined ? [] : [`address add ${address}/32 dev ${device}`]),
    ...(host?.hasOther === true ? [`address add ${other}/32 dev ${device}`] : []),
    ...(has6 ? [`address add ${LOWER_6}/64 dev ${device} nodad`] : []),
    ...(has6 && role === 'host' ? [`address add ${address6}/64 dev ${device} nodad`] : []),
  ];
}

/** Commands of ip that lead everything through this uplink. */
export function defaultRoutes(uplink: Uplink): readonly string[] {
  const { address, address6, device, gateway, gateway6 } = uplink;
  return [
    ...(address === undefined ? [] : [`route replace default via ${gateway} dev ${device} onlink`]),
    ...(address6 === undefined ? [] : [`route replace default via ${gateway6} dev ${device}`]),
  ];
}
