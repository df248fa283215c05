// Where transports are measured: loopback; two network namespaces joined by veth at MTU 1500; the
// same two joined by a link of a rate, a delay and loss (sim/lab/delay-line.c). Namespaces need
// root; they bear our process id, and are gone when we are, also after Ctrl-C. What a killed lab
// left behind is swept by the next one.

import { atExit } from '../../sim/lab/clean-up.ts';
import { DelayLine, type LinkShape, TUN_PACKETS } from '../../sim/lab/delay-line.ts';
import {
  type Side,
  addNamespaces,
  ip,
  namespaceName,
  removeNamespaces,
  sweepNamespaces,
} from '../../sim/lab/namespaces.ts';

const PREFIX = 'nkbench';
/** Name of the one device that joins a namespace to the other. */
export const DEVICE = 'nk0';
const MTU = 1500;

/** The link of the study: 100 Mbit/s, 50 ms there and back, a FIFO of 600 KB. */
export const LINK: LinkShape = { mbit: 100, oneWayMs: 25, queueBytes: 600_000, loss: 0, seed: 1 };

/** Two sides that reach each other. `a` sends bulk, `b` receives it and has the servers. */
export interface Place {
  readonly name: string;
  readonly a: Side;
  readonly b: Side;
  readonly link: LinkShape | undefined;
  /** Removes what was made. Repeated calls are harmless. */
  readonly close: () => void;
}

/** This machine with itself. */
export function loopback(): Place {
  const side: Side = { host: '127.0.0.1', namespace: undefined };
  return { name: 'loopback', a: side, b: side, link: undefined, close: () => {} };
}

/** Two namespaces joined by veth. */
export function veth(): Place {
  const opened = openNamespaces();
  const { a, b } = opened;
  try {
    const peer = ['type', 'veth', 'peer', 'name', DEVICE, 'netns', b.namespace];
    ip('link', 'add', DEVICE, 'netns', a.namespace, ...peer);
    for (const side of [a, b]) configure(side);
    return { name: 'veth', a, b, link: undefined, close: opened.close };
  } catch (error) {
    opened.close();
    throw error;
  }
}

/** Two namespaces joined by a link of this shape. */
export async function link(shape: LinkShape, name: string): Promise<Place> {
  const opened = openNamespaces();
  const { a, b } = opened;
  let line: DelayLine | undefined;
  const close = (): void => {
    line?.close();
    opened.close();
  };
  try {
    const [from, to] = [a, b].map(({ namespace }) => ({ namespace, device: DEVICE }));
    line = await DelayLine.start([{ a: from, b: to, shape }]);
    for (const side of [a, b]) configure(side);
    return { name, a, b, link: shape, close };
  } catch (error) {
    close();
    throw error;
  }
}

interface NamespaceSide extends Side {
  readonly namespace: string;
}

interface Joined {
  readonly a: NamespaceSide;
  readonly b: NamespaceSide;
  readonly close: () => void;
}

let namespacesEver = 0;

function openNamespaces(): Joined {
  sweepNamespaces(PREFIX);
  const number = (namespacesEver += 1);
  const names = ['a', 'b'].map((side) => namespaceName(PREFIX, `${number}${side}`));
  const close = atExit(() => removeNamespaces(names));
  const [a, b] = names.map((namespace, at) => ({ host: `10.71.0.${at + 1}`, namespace }));
  try {
    addNamespaces(names);
  } catch (error) {
    close();
    throw error;
  }
  return { a, b, close };
}

function configure(side: NamespaceSide): void {
  const { host, namespace } = side;
  ip('-n', namespace, 'address', 'add', `${host}/24`, 'dev', DEVICE);
  const queue = ['mtu', String(MTU), 'txqueuelen', String(TUN_PACKETS)];
  ip('-n', namespace, 'link', 'set', DEVICE, ...queue, 'up');
}
