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
  const sides = { A: [...MEASURED.keys()], B: COLUMNS } as const;
  const names: string[] = [];
  for (const side of ['A', 'B'] as const)
    for (const place of sides[side]) {
      const kinds: readonly NatKind[] = PLACES[place];
      kinds.forEach((kind, at) => {
        const behind = at === kinds.length - 1 ? {} : { behind: `${place}${side}${at + 1}` };
        plan.boxes[`${place}${side}${at}`] = { kind, ...behind };
      });
      names.push(`${place}${side}`);
      plan.hosts[`${place}${side}`] = kinds.length === 0 ? {} : { behind: [`${place}${side}0`] };
    }
  const { lab, stand } = await open(t, plan as LabPlan);
  const probers = new Map<string, Prober>();
  const start = async (name: string): Promise<void> => {
    probers.set(name, await Prober.start(lab, name));
  };
  // A few at a time: each is a process.
  for (let at = 0; at < names.length; at += 4)
    await Promise.all(names.slice(at, at + 4).map(start));
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
        return socket?.punch({ to, answersSeen, everyMs: 80, rounds: 15, afterMs: 0 });
      }),
    );
    return heard.every((each) => each?.heardMs !== undefined);
  };
  await Promise.all(
    [...MEASURED].map(async ([row, cells]) => {
      const found = await Promise.all(
        COLUMNS.map(async (column): Promise<Passage> => {
          if (await passes(row, column, false)) return 'ok';
          return (await passes(row, column, true)) ? 'seen' : '-';
        }),
      );
      t.strictSame(found, cells, row);
    }),
  );
});

t.test(
  'RFC 4787 REQ-9: neighbours and homes of one carrier, by hairpin only',
  { skip },
  async (t) => {
    const { lab, stand } = await open(t, {
      boxes: {
        plain: { kind: 'full-cone' },
        pinned: { kind: 'port-restricted', hairpins: true, isolates: true },
        carrier: { kind: 'port-restricted', hairpins: true },
        home1: { kind: 'port-restricted', behind: 'carrier' },
        home2: { kind: 'port-restricted', behind: 'carrier' },
      },
      hosts: {
        a: { behind: ['plain'] },
        b: { behind: ['plain'] },
        c: { behind: ['pinned'] },
        d: { behind: ['pinned'] },
        e: { behind: ['home1'] },
        f: { behind: ['home2'] },
      },
    });
    const names = ['a', 'b', 'c', 'd', 'e', 'f'];
    const sockets = await Promise.all(
      names.map(async (name) => {
        const socket = await (await Prober.start(lab, name)).bind();
        return { socket, seen: await socket.ask(stand.first.local) };
      }),
    );
    const [a, b, c, d, e, f] = sockets;
    const says = async (from: typeof a, to: typeof a, address: Address | undefined) => {
      if (address === undefined) throw new Error('the server heard nothing');
      await from.socket.say(address);
      return to.socket.hear(HEAR_MS);
    };
    t.strictSame(await says(a, b, b.socket.local), a.socket.local, 'neighbours, as they are');
    t.equal(await says(a, b, b.seen), undefined, 'no hairpin');
    t.equal(await says(c, d, d.socket.local), undefined, 'isolated');
    t.strictSame(await says(c, d, d.seen), c.seen, 'REQ-9a: the external source, with its port');
    t.strictSame(await says(d, c, c.seen), d.seen);
    t.equal(e.seen?.host, f.seen?.host, 'one carrier');
    t.not(e.seen?.host, lab.externalAddress('home1'));
    t.equal(await says(e, f, f.seen), undefined, 'it comes through the carrier, not into the home');
    t.strictSame(await says(f, e, e.seen), f.seen, 'who was asked may answer');
    t.strictSame(await says(e, f, f.seen), e.seen);
  },
);

t.test(
  'RFC 4787 REQ-5: a mapping ends with its timeout; a rebind ends all',
  { skip },
  async (t) => {
    const kinds = ['full-cone', 'address-restricted', 'port-restricted', 'symmetric'] as const;
    const { lab, stand } = await open(t, {
      boxes: Object.fromEntries(kinds.map((kind) => [nameOf(kind), { kind }])),
      hosts: Object.fromEntries(
        kinds.map((kind) => [`h${nameOf(kind)}`, { behind: [nameOf(kind)] }]),
      ),
    });
    await Promise.all(
      kinds.map(async (kind) => {
        const box = nameOf(kind);
        const socket = await (await Prober.start(lab, `h${box}`)).bind();
        const isHeard = async (to: Address | undefined): Promise<boolean> => {
          await stand.first.say(to ?? stand.first.local);
          return (await socket.hear(HEAR_MS)) !== undefined;
        };
        const first = await socket.ask(stand.first.local);
        t.ok(await isHeard(first), `${kind}: the server is let in`);
        const external = lab.externalAddress(box);
        lab.rebind(box, 'flush');
        t.notOk(await isHeard(first), `${kind}: no longer`);
        const second = await socket.ask(stand.first.local);
        t.equal(isSame(first, second), kind !== 'symmetric', `${kind}: flushed, the same again`);
        lab.rebind(box, 'port');
        const third = await socket.ask(stand.first.local);
        t.equal(third?.host, external);
        t.not(third?.port, second?.port, `${kind}: another port`);
        t.notOk(await isHeard(second), `${kind}: the old one leads nowhere`);
        t.ok(await isHeard(third));
        lab.rebind(box, 'address');
        const fourth = await socket.ask(stand.first.local);
        t.not(fourth?.host, external, `${kind}: another address`);
        t.equal(fourth?.host, lab.externalAddress(box));
        t.notOk(await isHeard(third));
        lab.forgetAfter(box, 1);
        lab.rebind(box, 'flush');
        const fifth = await socket.ask(stand.first.local);
        t.ok(await isHeard(fifth), `${kind}: at once`);
        // The clock of the kernel is what is waited for.
        t.equal(await socket.hear(2_500), undefined);
        t.notOk(await isHeard(fifth), `${kind}: forgotten after a second`);
      }),
    );
  },
);

t.test(
  'IPv6 passes what filters as a firewall does; UDP is blocked and let go',
  { skip },
  async (t) => {
    const { lab, stand } = await open(t, {
      boxes: { wall: { kind: 'firewall' }, home: { kind: 'symmetric' } },
      hosts: {
        a: { behind: ['wall'], families: 'ipv6' },
        b: { behind: ['home'], families: 'both' },
        c: { families: 'ipv6' },
      },
    });
    const bind = async (name: string): Promise<ProbeSocket> =>
      (await Prober.start(lab, name)).bind({ host: lab.address6(name) ?? '' });
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map(bind));
    for (const socket of [a, b, c])
      t.strictSame(await socket.ask(stand.first6.local), socket.local, 'nothing is translated');
    const hears = async (to: ProbeSocket, from: ProbeSocket): Promise<boolean> => {
      await from.say(to.local);
      return isSame(await to.hear(HEAR_MS), from.local);
    };
    t.ok(await hears(c, a), 'no box, everybody is let in');
    t.ok(await hears(a, c), 'who was asked is let in');
    t.notOk(await hears(b, c), 'who was not is not');
    t.notOk(await hears(b, a));
    t.ok(await hears(a, b), 'that asked it');
    t.ok(await hears(b, a), 'now both have');
    lab.blockUdp('a', true);
    t.equal(await a.ask(stand.first6.local, HEAR_MS), undefined);
    lab.blockUdp('a', false);
    t.strictSame(await a.ask(stand.first6.local), a.local);
    const { sent, heard } = lab.udp('a');
    t.ok(sent > heard && heard > 0, `${sent} sent, ${heard} heard`);
  },
);
