// What the lab shows beside the matrix, each with the real program and a figure that is asked for;
// here those about calls: loss, the many-socket search, name to first byte, and silence.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Call, callOnce } from './calls.ts';
import { planOf } from './matrix.ts';
import {
  awayScene,
  bothScene,
  phoneScene,
  rebindScene,
  sleepScene,
  spoofScene,
  timeoutScene,
} from './scenes-moves.ts';
import { relayScene } from './scenes-relay.ts';
import { blockedScene, ipv6Scene, neighboursScene } from './scenes-ways.ts';
import {
  A,
  B,
  type Doses,
  type Scene,
  calls,
  median,
  most,
  on,
  setups,
  sorted,
  whole,
} from './stage.ts';

const ROUND_TRIP_MS = 50;
/** What callers bear at 10 to 30 % of loss: one of 20 calls may take longer, or fail. */
const LOSS_SHARE_MIN = 0.95;
const LOSS_SETUP_MS_MAX = 5_000;
/** The ports of the search fit by chance, as birthdays do: two of 20 tries may find none. */
const SEARCH_SHARE_MIN = 0.9;
/** A half each: call, question, verdict, notice, probe, first byte; and half of one to wait. */
const FIRST_BYTE_ROUND_TRIPS_MAX = 3.5;

/** 10, 20, 30 % on the link of each terminal: at least 95 % have a path within 5 s. */
async function lossScene({ lossTries }: Doses): Promise<Scene> {
  return on(planOf({ [A]: 'port', [B]: 'port' }), {}, async ({ lab, terminals }) => {
    await calls(terminals, 1);
    const file = join(terminals.home(A), 'small');
    writeFileSync(file, 'one line\n');
    const levels = [];
    for (const loss of [0.1, 0.2, 0.3]) {
      for (const link of ['Ax0', 'Bx0']) lab.setLink(link, { loss });
      const all: Call[] = [];
      for (let at = 0; at < lossTries; at++)
        all.push(await callOnce(terminals, { from: A, to: B, holdSeconds: 0, file }));
      const inTime = setups(all).filter((ms) => ms <= LOSS_SETUP_MS_MAX).length;
      const meetings = all.flatMap(({ meetingMs }) => meetingMs ?? []);
      levels.push({
        loss,
        inTime,
        tries: lossTries,
        medianMs: median(setups(all)),
        mostMs: most(setups(all)),
        meetings,
        failures: all.flatMap(({ failure }) => failure ?? []),
      });
    }
    return {
      name: 'loss',
      lines: levels.map(
        ({ loss, inTime, tries, medianMs, mostMs, meetings, failures }) =>
          `${loss * 100} % on each link: ${inTime} of ${tries} within 5 s, ` +
          `median ${whole(medianMs)} ms, most ${whole(mostMs)} ms; ` +
          `of it the meeting ${whole(median(meetings))} and ${whole(most(meetings))} ms` +
          `${failures.length > 0 ? `; ${failures.length} failed: ${failures[0]}` : ''}`,
      ),
      figures: levels,
      faults: levels
        .filter(({ inTime, tries }) => inTime < tries * LOSS_SHARE_MIN)
        .map(({ loss, inTime, tries }) => `loss ${loss}: ${inTime} of ${tries} within 5 s`),
    };
  });
}

/** Home router × symmetric without a relay: direct in at least 90 % of the tries. */
async function searchScene({ searchTries }: Doses): Promise<Scene> {
  const plan = planOf({ [A]: 'port', [B]: 'symmetric' });
  return on(plan, { hasRelay: false }, async ({ terminals }) => {
    const all = await calls(terminals, searchTries);
    const found = setups(all);
    return {
      name: 'search',
      lines: [
        `port → symmetric, no relay: ${found.length} of ${searchTries} direct, ` +
          `median ${whole(median(found))} ms, most ${whole(most(found))} ms`,
      ],
      figures: all,
      faults:
        found.length < searchTries * SEARCH_SHARE_MIN
          ? [`search: ${found.length} of ${searchTries}`]
          : [],
    };
  });
}

/** From the name to the first byte at the callee, through two home routers. */
async function firstByteScene({ firstByteTries }: Doses): Promise<Scene> {
  return on(planOf({ [A]: 'port', [B]: 'port' }), {}, async ({ terminals }) => {
    await calls(terminals, 3);
    const all = await calls(terminals, firstByteTries);
    const times = all.flatMap(({ firstByteMs }) => firstByteMs ?? []);
    const roundTrips = median(times) / ROUND_TRIP_MS;
    const said = `${whole(median(times))} ms = ${roundTrips.toFixed(2)} round trips`;
    return {
      name: 'first-byte',
      lines: [`name to first byte: median ${said}; least ${whole(sorted(times)[0])} ms`],
      figures: all,
      faults: roundTrips > FIRST_BYTE_ROUND_TRIPS_MAX ? [`first byte after ${said}`] : [],
    };
  });
}

/** Terminals that wait send no UDP. */
async function idleScene({ idleSeconds }: Doses): Promise<Scene> {
  return on(planOf({ [A]: 'port', [B]: 'none' }), {}, async ({ lab, terminals }) => {
    await new Promise((resolve) => setTimeout(resolve, idleSeconds * 1_000));
    const idle = [A, B].map((name) => lab.udp(name).sent + lab.udp(name).heard);
    // That the counter counts is seen in a call.
    await calls(terminals, 1);
    const { sent } = lab.udp(A);
    const isSilent = idle.every((count) => count === 0) && sent > 0;
    const words = `${idle.join(' and ')} datagrams in ${idleSeconds} s; ${sent} sent in a call`;
    return {
      name: 'idle',
      lines: [`idle: ${words}`],
      figures: { idle, sent },
      faults: isSilent ? [] : [`idle: ${words}`],
    };
  });
}

/** Scenes by the names that ONLY takes, in the order in which they run. */
export const SCENES: Readonly<Record<string, (doses: Doses) => Promise<Scene>>> = {
  'first-byte': firstByteScene,
  neighbours: neighboursScene,
  ipv6: ipv6Scene,
  blocked: blockedScene,
  idle: idleScene,
  rebind: rebindScene,
  'wifi-lte': phoneScene,
  both: bothScene,
  away: awayScene,
  timeout: timeoutScene,
  sleep: sleepScene,
  search: searchScene,
  relay: relayScene,
  spoof: spoofScene,
  loss: lossScene,
};
