// Before anything is measured on a link, the link itself is: round trip by ping, rate and loss by
// plain UDP. Round trip and rate within 3 % of what was asked for, or there is no measurement.

import { median } from '../figures.ts';
import { startFlow, steady } from './flow.ts';
import { runOn } from '../../sim/lab/namespaces.ts';
import type { LinkShape } from '../../sim/lab/delay-line.ts';
import type { Place } from './places.ts';
import { nodeFlows } from './rivals.ts';

const TOLERANCE = 0.03;
/** What chance allows of so many packets, about four standard deviations. */
const LOSS_TOLERANCE = 0.004;
const PINGS = 20;
const TRIES_MAX = 5;
/** IP bytes for each byte of payload that the blast sends. */
const IP_SHARE = 1_500 / 1_472;
const BLAST_MS = 2_000;
const LOSS_BYTES = 16_000_000;
/** Milliseconds after which what was sent has arrived. */
const SETTLE_MS = 500;

/**
 * What the link turned out to be, in words. A few tries, as a busy machine starves whoever checks.
 * @throws Error if it is not what was asked for.
 */
export async function checkLink(place: Place, shape: LinkShape): Promise<string> {
  for (let tries = 1; ; tries++) {
    const rttMs = roundTripMs(place);
    const mbit = await rate(place, shape);
    const loss = await lossOf(place, shape);
    const said =
      `${place.name}: ${mbit.toFixed(2)} Mbit/s, ${rttMs.toFixed(2)} ms there and back, ` +
      `${(loss * 100).toFixed(2)} % lost`;
    const isRight =
      isNear(rttMs, 2 * shape.oneWayMs) &&
      isNear(mbit, shape.mbit) &&
      Math.abs(loss - shape.loss) < LOSS_TOLERANCE;
    if (isRight) return said;
    if (tries === TRIES_MAX) throw new Error(`the delay line is not what it should be; ${said}`);
  }
}

function roundTripMs(place: Place): number {
  const said = runOn(place.a, 'ping', ['-n', '-i', '0.05', '-c', `${PINGS}`, place.b.host]);
  return median([...said.matchAll(/time=([\d.]+)/g)].map(([, ms]) => Number(ms)));
}

/** Mbit/s that come through when more is sent. */
async function rate(place: Place, shape: LinkShape): Promise<number> {
  const kind = nodeFlows(place, 'blast', { mbit: shape.mbit * 1.5 });
  const wanted = { skipMs: 800, skipBytes: 0, measureMs: BLAST_MS };
  const { mbPerSecond } = await steady(place, kind, wanted);
  return mbPerSecond * 8 * IP_SHARE;
}

/** Share of the packets that do not arrive at half the rate. */
async function lossOf(place: Place, shape: LinkShape): Promise<number> {
  const kind = nodeFlows(place, 'blast', { mbit: shape.mbit / 2 });
  const bytes = Math.round((LOSS_BYTES * shape.mbit) / 100);
  const { sender, receiver, end } = await startFlow(place, kind, bytes);
  try {
    const { sent } = await sender.next('sent');
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const arrived = await receiver.newest('bytes');
    return 1 - Number(arrived.bytes) / Number(sent);
  } finally {
    await end();
  }
}

const isNear = (value: number, wanted: number): boolean =>
  Math.abs(value / wanted - 1) <= TOLERANCE;
