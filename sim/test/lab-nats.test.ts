// The boxes of the lab are what they are called: mapping, filtering, ports, hairpin, timeout and
// rebind of each, asked with real sockets in the terms of RFC 4787; and every pair of places comes
// to what theory, the table and the modelled boxes say. Needs root, nftables, conntrack.

import t, { type Test } from 'tap';
import { Lab } from '../lab/lab.ts';
import type { HostPlan, LabPlan } from '../lab/map.ts';
import { boxesMissing } from '../lab/namespaces.ts';
import { COLUMNS, MEASURED, PLACES, type Passage, type PlaceName } from '../lab/pair-table.ts';
import { type Address, type ProbeSocket, Prober } from '../lab/prober.ts';
import { type Dependence, NAT_KINDS, type NatKind } from '../network/nat.ts';

const missing = boxesMissing();
const skip = missing ?? false;
/** Long enough for a datagram through five namespaces of a busy machine, and its answer. */
const HEAR_MS = 400;
const PORT = 3_478;
const OTHER_PORT = 3_479;
const BOXES = Object.keys(NAT_KINDS).filter((kind) => kind !== 'none');

/** A lab for one test, with a server that has two addresses with two ports each. */
async function open(t: Test, plan: LabPlan): Promise<{ lab: Lab; stand: Stand }> {
  const server: HostPlan = { families: 'both', hasOther: true };
  const lab = await Lab.open({ ...plan, hosts: { ...plan.hosts, server } });
  t.teardown(() => lab.close());
  const prober = await Prober.start(lab, 'server');
  const at = (host: string | undefined, port: number): Promise<ProbeSocket> =>
    prober.bind({ host: host ?? '', port });
  const { host } = lab.side('server');
  const other = lab.otherAddress('server');
  const stand = {
    first: await at(host, PORT),
    otherPort: await at(host, OTHER_PORT),
    otherHost: await at(other, PORT),
    first6: await at(lab.address6('server'), PORT),
  };
  return { lab, stand };
}

interface Stand {
  readonly first: ProbeSocket;
  readonly otherPort: ProbeSocket;
  readonly otherHost: ProbeSocket;
  readonly first6: ProbeSocket;
}

const nameOf = (kind: string): string => kind.replace('-', '');
const isSame = (a: Address | undefined, b: Address | undefined): boolean =>
  a !== undefined && a.host === b?.host && a.port === b.port;

t.test(
  'RFC 4787 §4, §5: each box maps, filters and numbers as its kind says',
  { skip },
  async (t) => {
    const boxes = Object.fromEntries(BOXES.map((kind) => [nameOf(kind), { kind }]));
    const hosts = Object.fromEntries(
      BOXES.map((kind) => [`h${nameOf(kind)}`, { behind: [nameOf(kind)] }]),
    );
    const { lab, stand } = await open(t, { boxes, hosts } as LabPlan);
    await Promise.all(
      BOXES.map(async (kind) => {
        const behaviour = NAT_KINDS[kind as NatKind];
        const prober = await Prober.start(lab, `h${nameOf(kind)}`);
        const socket = await prober.bind();
        const seen = await socket.ask(stand.first.local);
        if (behaviour.blocksUdp) {
          t.equal(seen, undefined, `${kind}: nothing passes`);
          return;
        }
        if (seen === undefined) throw new Error(`${kind}: no answer`);
        t.equal(isSame(seen, socket.local), !behaviour.translates, `${kind}: translates`);
        const keeps = behaviour.ports === 'preserving';
        t.equal(seen.port === socket.local.port, keeps, `${kind}: ports`);
        // Who may answer, while only the first was asked:
        const heard: boolean[] = [];
        for (const from of [stand.otherPort, stand.otherHost]) {
          await from.say(seen);
          heard.push(isSame(await socket.hear(HEAR_MS), from.local));
        }
        t.equal(dependence(heard), behaviour.filtering, `${kind}: filtering`);
        // As what others see it:
        const same = [];
        for (const to of [stand.otherPort, stand.otherHost])
          same.push(isSame(await socket.ask(to.local), seen));
        t.equal(dependence(same), behaviour.mapping, `${kind}: mapping`);
        t.strictSame(
          await socket.ask(stand.first.local),
          seen,
          `${kind}: the first is still there`,
        );
      }),
    );
  },
);

/** From whether it is alike for another port, and for another address. */
function dependence([port, host]: readonly boolean[]): Dependence {
  if (host) return 'endpoint-independent';
  return port ? 'address-dependent' : 'address-and-port-dependent';
}

t.test('every pair of places comes to what the table says, cell by cell', { skip }, async (t) => {
  const plan = { boxes: {} as Record<string, object>, hosts: {} as Record<string, object> };
  const places = Object.keys(PLACES) as PlaceName[];
  for (const side of ['A', 'B'])
    for (const place of places) {
      const kinds: readonly NatKind[] = PLACES[place];
      kinds.forEach((kind, at) => {
        const behind = at === kinds.length - 1 ? {} : { behind: `${place}${side}${at + 1}` };
        plan.boxes[`${place}${side}${at}`] = { kind, ...behind };
      });
      const behind = kinds.length === 0 ? {} : { behind: [`${place}${side}0`] };
      plan.hosts[`${place}${side}`] = behind;
    }
  const { lab, stand } = await open(t, plan as LabPlan);
  const probers = new Map<string, Prober>();
  // A few at a time: each is a process.
  for (const place of places)
    await Promise.all(
      ['A', 'B'].map(async (side) => {
        probers.set(`${place}${side}`, await Prober.start(lab, `${place}${side}`));
      }),
    );
  const passes = async (a: PlaceName, b: PlaceName, answersSeen: boolean): Promise<boolean> => {
    const ends = await Promise.all(
      [`${a}A`, `${b}B`].map(async (name) => {
        const socket = await probers.get(name)?.bind();
        const seen = await socket?.ask(stand.first.local);
        return { socket, seen };
      }),
    );
    // Who is seen by no server is sent nothing, but sends.
    const nowhere = { host: '192.0.2.1', port: 9 };
    const heard = await Promise.all(
      ends.map(async ({ socket }, at) => {
        const to = ends[1 - at].seen ?? nowhere;
        return socket?.punch({ to, answersSeen, everyMs: 60, rounds: 12, afterMs: 0 });
      }),
    );
    return heard.every((each) => each?.heardMs !== undefined);
  };
  for (const [row, cells] of MEASURED) {
    const found = await Promise.all(
      COLUMNS.map(async (column): Promise<Passage> => {
        if (await passes(row, column, false)) return 'ok';
        return (await passes(row, column, true)) ? 'seen' : '-';
      }),
    );
    t.strictSame(found, cells, row);
  }
});
