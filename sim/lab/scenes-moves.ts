// Scenes in which the network changes under a talk: rebinds of each sort, a phone that goes from
// its Wi-Fi to a carrier, both that move at once, a server that is away while a router rebinds,
// routers that forget in silence (timeout), a machine that sleeps and wakes up elsewhere, a spoofer
// with the peer's address.

import { join } from 'node:path';
import { type Bulk, sendBulk } from './bulk.ts';
import { ACCESS, type Lab } from './lab.ts';
import type { LabPlan } from './map.ts';
import { placeOf, planOf } from './matrix.ts';
import { A, B, type Doses, type Scene, calls, joined, median, on, whole } from './stage.ts';

const SPOOFER = join(import.meta.dirname, 'spoofer.js');
const ROUND_TRIP_MS = 50;
/** Home routers forget no sooner, though RFC 4787 REQ-5 asks for two minutes. */
const FORGOTTEN_SECONDS = 30;
const SILENT_SECONDS = 45;
/** Longer than routers remember, and within the 45 s of silence that a talk bears. */
const ASLEEP_SECONDS = 38;
/** Three round trips, to ask and be answered anew, and a second to notice and to hear STUN. */
const STALL_MS_MAX = 3 * ROUND_TRIP_MS + 1_000;
/** Of what is moved with the same datagrams on the same line: dropping them may cost a tenth. */
const SPOOFED_SHARE_MIN = 0.9;
const SPOOFED_PER_SECOND = 25_000;
/** An odd number, for a median. */
const SPOOF_ROUNDS = 3;
/** Nobody listens there. */
const NOBODYS_PORT = 9;

function bulkLine(name: string, bulk: Bulk): string {
  const { stallMs, beforeMbPerSecond, afterMbPerSecond, isWhole } = bulk;
  return (
    `${name}: stall ${whole(stallMs)} ms, ${beforeMbPerSecond.toFixed(1)} MB/s before, ` +
    `${afterMbPerSecond.toFixed(1)} after${isWhole ? '' : ', NOT WHOLE'}`
  );
}

async function moved(
  name: string,
  plan: LabPlan,
  { megabytes }: Doses,
  happen: (lab: Lab) => void,
): Promise<Scene> {
  return on(plan, {}, async ({ lab, terminals }) => {
    await calls(terminals, 1);
    const bulk = await sendBulk(terminals, {
      from: A,
      to: B,
      megabytes,
      happen: () => happen(lab),
    });
    const isSlow = bulk.stallMs > STALL_MS_MAX;
    return {
      name,
      lines: [bulkLine(name, bulk)],
      figures: { ...bulk, said: bulk.said.said },
      faults: [
        ...(isSlow ? [`${name}: a stall of ${whole(bulk.stallMs)} ms`] : []),
        ...(bulk.isWhole ? [] : [`${name}: the file is not whole: ${bulk.said.stdout}`]),
      ],
    };
  });
}

/** A rebind of each sort, at each end, in a running bulk. */
export async function rebindScene(doses: Doses): Promise<Scene> {
  const scenes: Scene[] = [];
  for (const what of ['flush', 'port', 'address'] as const)
    for (const end of [A, B])
      scenes.push(
        await moved(
          `rebind ${what} of ${end}`,
          planOf({ [A]: 'port', [B]: 'port' }),
          doses,
          (lab) => lab.rebind(`${end}x0`, what),
        ),
      );
  return joined('rebind', scenes);
}

/** A phone goes from its Wi-Fi to a carrier with a symmetric NAT, to a peer at home. */
export async function phoneScene(doses: Doses): Promise<Scene> {
  const { boxes, host } = placeOf('port', B);
  const plan: LabPlan = {
    boxes: { ...boxes, wifi: { kind: 'port-restricted' }, lte: { kind: 'symmetric' } },
    hosts: { server: {}, [A]: { behind: ['wifi', 'lte'] }, [B]: host },
    link: ACCESS,
  };
  return moved('wifi-lte', plan, doses, (lab) => lab.move(A, { from: 0, to: 1 }));
}

/** Both get another address at the same time. */
export async function bothScene(doses: Doses): Promise<Scene> {
  return moved('both', planOf({ [A]: 'port', [B]: 'port' }), doses, (lab) => {
    lab.rebind('Ax0', 'address');
    lab.rebind('Bx0', 'address');
  });
}

/** The server is away when a router rebinds: the talk goes on, as the peer can be reached. */
export async function awayScene({ megabytes }: Doses): Promise<Scene> {
  return on(planOf({ [A]: 'port', [B]: 'none' }), {}, async ({ lab, terminals }) => {
    await calls(terminals, 1);
    const happen = async (): Promise<void> => {
      await terminals.end('server');
      lab.rebind('Ax0', 'port');
    };
    const bulk = await sendBulk(terminals, { from: A, to: B, megabytes, happen });
    const words = bulkLine('away', bulk);
    return {
      name: 'away',
      lines: [words],
      figures: { ...bulk, said: bulk.said.said },
      faults: bulk.isWhole ? [] : [`${words}: ${bulk.said.stdout}`],
    };
  });
}

/** Routers forget after 30 s, and nothing is said for longer: the talk keeps its mappings. */
export async function timeoutScene(): Promise<Scene> {
  return on(planOf({ [A]: 'port', [B]: 'port' }), {}, async ({ lab, terminals }) => {
    for (const box of ['Ax0', 'Bx0']) lab.forgetAfter(box, FORGOTTEN_SECONDS);
    const { said, exit } = await terminals.command(
      A,
      ['ping', B, '--count', '2', '--interval', `${SILENT_SECONDS}s`],
      2 * SILENT_SECONDS * 1_000,
    );
    const words =
      `${String(said.received as number)} of ${String(said.sent as number)} pings back, ` +
      `${SILENT_SECONDS} s apart, mappings of ${FORGOTTEN_SECONDS} s`;
    const isKept = exit === 0 && said.lost === 0;
    const faults = isKept ? [] : [`timeout: ${words}`];
    return { name: 'timeout', lines: [`timeout: ${words}`], figures: said, faults };
  });
}

/**
 * In mid-transfer a terminal's process stands still, as in a machine that sleeps, and its router
 * gets another address meanwhile. The stall is counted from its waking.
 */
export async function sleepScene({ megabytes }: Doses): Promise<Scene> {
  const scenes: Scene[] = [];
  for (const end of [A, B])
    scenes.push(
      await on(planOf({ [A]: 'port', [B]: 'port' }), {}, async ({ lab, terminals }) => {
        await calls(terminals, 1);
        for (const box of ['Ax0', 'Bx0']) lab.forgetAfter(box, FORGOTTEN_SECONDS);
        const lastsMs = ASLEEP_SECONDS * 1_000;
        const happen = async (): Promise<void> => {
          const pid = terminals.pid(end);
          process.kill(pid, 'SIGSTOP');
          lab.rebind(`${end}x0`, 'address');
          await new Promise((resolve) => setTimeout(resolve, lastsMs));
          process.kill(pid, 'SIGCONT');
        };
        const bulk = await sendBulk(terminals, { from: A, to: B, megabytes, lastsMs, happen });
        const name = `sleep of ${end}`;
        const words =
          `${name}: ${ASLEEP_SECONDS} s, then a stall of ${whole(bulk.stallAfterMs)} ms` +
          `${bulk.isWhole ? '' : ', NOT WHOLE'}`;
        const isFine = bulk.isWhole && bulk.stallAfterMs <= STALL_MS_MAX;
        const faults = isFine ? [] : [`${words}${bulk.isWhole ? '' : `: ${bulk.said.stdout}`}`];
        return { name, lines: [words], figures: { ...bulk, said: bulk.said.said }, faults };
      }),
    );
  return joined('sleep', scenes);
}

interface StatusOf {
  readonly talks: readonly {
    readonly talk: { readonly path?: { readonly host: string; readonly port: number } };
  }[];
}

/**
 * A spoofer with the caller's address, and later its own, at the callee's socket. The datagrams
 * themselves take a fifth of the callee's line, whoever they are for; so the same ones go to a port
 * of that host where nobody listens, and to another host, in turn, as the machine has others.
 */
export async function spoofScene({ spoofed, megabytes }: Doses): Promise<Scene> {
  const hosts = { server: {}, [A]: {}, [B]: {}, spoofer: {}, sink: {} };
  return on({ hosts, link: ACCESS }, {}, async ({ lab, terminals }) => {
    lab.spoof('spoofer', lab.side(A).host);
    const flood = async (at: 'victim' | 'line' | 'away'): Promise<void> => {
      const pathOf = async (name: string) => {
        const { said } = await terminals.command(name, ['status']);
        return (said as unknown as StatusOf).talks[0].talk.path ?? { host: '', port: 0 };
      };
      const [caller, callee] = [await pathOf(B), await pathOf(A)];
      const to = at === 'away' ? lab.side('sink').host : callee.host;
      const port = at === 'victim' ? callee.port : NOBODYS_PORT;
      const send = (from: string, count: number) =>
        lab.run('spoofer', 'env', [
          '-u',
          'NODE_OPTIONS',
          process.execPath,
          SPOOFER,
          from,
          String(caller.port),
          to,
          String(port),
          String(count),
          String(SPOOFED_PER_SECOND),
        ]);
      await send(caller.host, spoofed);
      if (at === 'victim') await send(lab.side('spoofer').host, 1_000);
    };
    await calls(terminals, 1);
    const rates: Record<'away' | 'line' | 'victim', number[]> = { away: [], line: [], victim: [] };
    for (let round = 0; round < SPOOF_ROUNDS; round++) {
      for (const at of ['away', 'line', 'victim'] as const) {
        const options = { from: A, to: B, megabytes: megabytes * 2, share: 0.05 };
        const bulk = await sendBulk(terminals, { ...options, happen: () => flood(at) });
        rates[at].push(bulk.isWhole ? bulk.duringMbPerSecond : 0);
      }
    }
    const shareOf = (of: readonly number[]): number => median(rates.victim) / median(of);
    const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
    const { heard } = lab.udp('spoofer');
    const words =
      `${spoofed} spoofed: ${median(rates.victim).toFixed(2)} MB/s, ` +
      `${percent(shareOf(rates.line))} of what it is with them on the line alone, ` +
      `${percent(shareOf(rates.away))} with them on another; ${heard} answers`;
    return {
      name: 'spoof',
      lines: [words],
      figures: { rates, heard },
      faults: shareOf(rates.line) < SPOOFED_SHARE_MIN || heard > 0 ? [`spoof: ${words}`] : [],
    };
  });
}
