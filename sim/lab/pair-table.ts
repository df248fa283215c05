// Which pairs of places reach one another: what real boxes did in a laboratory of namespaces
// (docs/lab.md), and what theory says in the terms of RFC 4787. The modelled boxes and those of the
// lab are held against this same table, cell by cell.

import type { NatKind } from '../network/nat.ts';

/** Boxes of each place, from the host outward. */
export const PLACES = {
  none: [],
  firewall: ['firewall'],
  full: ['full-cone'],
  address: ['address-restricted'],
  port: ['port-restricted'],
  symmetric: ['symmetric'],
  port2: ['port-restricted', 'port-restricted'],
  portSymmetric: ['port-restricted', 'symmetric'],
  blocked: ['udp-blocked'],
} as const satisfies Record<string, readonly NatKind[]>;

/** The name of a place. */
export type PlaceName = keyof typeof PLACES;

/** `ok`: at once; `seen`: only by answering the source that was seen; `-`: not at all. */
export type Passage = 'ok' | 'seen' | '-';

/** Places that head the columns of the table, in this order. */
export const COLUMNS = [
  'none',
  'firewall',
  'full',
  'address',
  'port',
  'symmetric',
  'port2',
  'portSymmetric',
] as const satisfies readonly PlaceName[];

const ROWS: Readonly<Partial<Record<PlaceName, string>>> = {
  //          none fire full addr port symm port2 port+symm
  none: 'ok   ok   ok   ok   ok   seen ok   seen',
  firewall: 'ok   ok   ok   ok   ok   -    ok   -',
  full: 'ok   ok   ok   ok   ok   seen ok   seen',
  address: 'ok   ok   ok   ok   ok   seen ok   seen',
  port: 'ok   ok   ok   ok   ok   -    ok   -',
  symmetric: 'seen -    seen seen -    -    -    -',
  port2: 'ok   ok   ok   ok   ok   -    ok   -',
  blocked: '-    -    -    -    -    -    -    -',
};

/** The table: places of the row, and what each column's place comes to. */
export const MEASURED: ReadonlyMap<PlaceName, readonly Passage[]> = new Map(
  Object.entries(ROWS).map(([row, cells]) => [
    row as PlaceName,
    cells.split(/ +/) as readonly Passage[],
  ]),
);
