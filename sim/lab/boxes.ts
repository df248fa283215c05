// What makes a namespace a box of a kind: rules of nftables. Port restricted and symmetric are what
// connection tracking does by itself; full cone, address restricted and hairpin are maps that it
// learns as sockets speak. Translation is for IPv4; IPv6 passes a stateful firewall, as in homes
// (RFC 6092). The rules see one uplink, `up0`; every other device leads inside.

import { NAT_KINDS, type NatBehaviour, type NatKind } from '../network/nat.ts';

/** A kind that is a box at all. */
export type BoxKind = Exclude<NatKind, 'none'>;

/** What a box does beyond its kind; none of it by default. */
export interface BoxOptions {
  /**
   * Hosts behind it reach one another by its external address, from which they are then seen
   * (RFC 4787 REQ-9a). Nothing is filtered on that way. Not for symmetric.
   */
  readonly hairpins?: boolean;
  /** Hosts behind it reach one another only by hairpin, as in a guest network. */
  readonly isolates?: boolean;
  /** What comes to a port unasked takes the port, for who came: then a mapping gets another. */
  readonly earlyTakesPort?: boolean;
  /** A mapping that long without a packet is forgotten. */
  readonly timeoutSeconds?: number;
}

/** A box as it is now. */
export interface BoxState extends BoxOptions {
  readonly kind: BoxKind;
  /** External address. */
  readonly address: string;
  /** 0: sockets keep their ports, where they do; else they get others, by that number. */
  readonly portShift: number;
}

/** The least that RFC 4787 REQ-5 allows, and what Linux has for those that were answered. */
const TIMEOUT_SECONDS = 120;
/** Ports after a rebind are from this on. */
const SHIFTED_PORT_MIN = 10_000;
const SHIFTED_PORTS = 20_000;
/** Of connections that go back inside: postrouting sees no input device. */
const HAIRPIN_MARK = 1;
const TO_INSIDE = 'dnat ip to udp dport map @inside';

/**
 * Lines of a shell that make the namespace that they run in this box, or another one if it is one
 * already; connections that are tracked stay.
 */
export function boxScript(state: BoxState): readonly string[] {
  const behaviour: NatBehaviour = NAT_KINDS[state.kind];
  const seconds = state.timeoutSeconds ?? TIMEOUT_SECONDS;
  return [
    "nft -f - <<'RULES'",
    // Only what is there can be deleted: each table is there first.
    ...['ip translation', 'inet guard'].flatMap((name) => [
      `table ${name}`,
      `delete table ${name}`,
    ]),
    ...(behaviour.translates ? translation(state, behaviour, seconds) : []),
    ...guard(state, behaviour),
    'RULES',
    ...['', '_stream'].map(
      (which) => `echo ${seconds} > /proc/sys/net/netfilter/nf_conntrack_udp_timeout${which}`,
    ),
  ];
}

/** The table that translates, and learns whose a port is and who was asked through it. */
function translation(
  state: BoxState,
  { mapping, filtering, ports }: NatBehaviour,
  seconds: number,
): readonly string[] {
  const learned = `flags dynamic,timeout; timeout ${seconds}s; size 65535;`;
  const source = `snat ip to ${state.address}${portWords(state, ports)}`;
  const toBox = `ip daddr ${state.address}`;
  const isLearned = mapping === 'endpoint-independent';
  const hairpins = state.hairpins === true && isLearned;
  return [
    'table ip translation {',
    ` map inside { type inet_service : ipv4_addr . inet_service; ${learned} }`,
    ` set asked { type ipv4_addr . inet_service; ${learned} }`,
    ' chain inward { type nat hook prerouting priority dstnat;',
    // Who was asked by address and port is known to the tracked connection.
    filtering === 'endpoint-independent' ? `  iifname "up0" ${toBox} ${TO_INSIDE}` : '',
    filtering === 'address-dependent'
      ? `  iifname "up0" ${toBox} ip saddr . udp dport @asked ${TO_INSIDE}`
      : '',
    hairpins ? `  iifname != "up0" ${toBox} ct mark set ${HAIRPIN_MARK} ${TO_INSIDE}` : '',
    ' }',
    ' chain outward { type nat hook postrouting priority srcnat;',
    `  oifname "up0" meta l4proto udp ${source}`,
    `  oifname "up0" snat ip to ${state.address}`,
    `  oifname != "up0" ct mark ${HAIRPIN_MARK} meta l4proto udp ${source}`,
    ' }',
    ' chain learn { type filter hook postrouting priority srcnat + 10;',
    ...(isLearned ? learning('oifname "up0"') : []),
    ...(hairpins ? learning(`ct mark ${HAIRPIN_MARK}`) : []),
    ' }',
    '}',
  ].filter((line) => line !== '');
}

/** After the source was translated, whose the port is and who was asked through it. */
function learning(which: string): readonly string[] {
  const first = `  ${which} meta l4proto udp ct direction original update`;
  return [
    `${first} @inside { ct reply proto-dst : ct original ip saddr . ct original proto-src }`,
    `${first} @asked { ct original ip daddr . ct reply proto-dst }`,
  ];
}

/** Which port a socket has outside. */
function portWords({ portShift }: BoxState, ports: NatBehaviour['ports']): string {
  if (ports === 'random') return ' fully-random';
  if (portShift === 0) return '';
  const hash = `jhash ip saddr . udp sport mod ${SHIFTED_PORTS} seed ${portShift}`;
  return ` : ${hash} offset ${SHIFTED_PORT_MIN}`;
}

/** The table that filters. */
function guard(
  { isolates, earlyTakesPort }: BoxState,
  { translates, blocksUdp }: NatBehaviour,
): readonly string[] {
  return [
    'table inet guard {',
    ' chain forward { type filter hook forward priority filter;',
    blocksUdp ? '  meta l4proto udp drop' : '',
    isolates === true ? '  iifname != "up0" oifname != "up0" ct status & dnat == 0 drop' : '',
    '  ct state established,related accept',
    translates ? '  iifname "up0" ct status dnat accept' : '',
    '  iifname "up0" drop',
    ' }',
    // What is for nobody inside is dropped before it takes a port from those inside; and a reset
    // would end what is only forgotten here.
    ' chain input { type filter hook input priority filter;',
    '  iifname "up0" meta l4proto tcp drop',
    earlyTakesPort === true ? '' : '  meta l4proto udp drop',
    ' }',
    '}',
  ].filter((line) => line !== '');
}
