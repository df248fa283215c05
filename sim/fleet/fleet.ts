// The real-socket fleet: many terminals in one process call one another at random against a table
// of who allows whom, and every outcome is held against the table. A permitted call carries bytes
// and is answered with their hash; a refused one must come to nothing.

import { createHash } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { Agent } from '../../device/agent.ts';
import type { Session } from '../../device/shell/session.ts';
import { EXIT, NakodoError, errorMessage } from '../../protocol/errors.ts';
import { randomBelow, randomBytes, seededRng } from '../../protocol/random.ts';
import { type Town, allowing } from './town.ts';

const SERVICE = 'echo-hash';
const PER_CENT = 100;
/** A permitted call is answered at once; on a machine at its limit it may take its time. */
const PERMITTED_WAIT_MS = 30_000;

interface FleetOptions {
  readonly terminals: number;
  readonly calls: number;
  /** Calls under way at once. */
  readonly parallel: number;
  readonly seed: number;
  /** Share of the table's cells that permit, in per cent. */
  readonly permittedPercent: number;
  /** Bytes carried by a permitted call: up to this many. */
  readonly bytesMax: number;
  /** A refusal leaves at this time, so it is what a refused call costs. */
  readonly waitMs: number;
}

interface FleetReport {
  readonly introduced: number;
  readonly refused: number;
  /** Forbidden calls whose refusal came too late to be one: a machine at its limit. */
  readonly unanswered: number;
  /** Introductions that the table forbids: must be 0. */
  readonly wrongIntroductions: readonly string[];
  /** Permitted calls that came to nothing: must be 0. */
  readonly wrongRefusals: readonly string[];
  /** Deliveries whose hash was not that of what was sent: must be 0. */
  readonly damaged: readonly string[];
  readonly bytes: number;
  /** Milliseconds from asking to a proven talk, of the permitted calls, ascending. */
  readonly setUpMs: readonly number[];
}

/** Enrols and starts the fleet in a town, makes the calls, and compares. */
export async function runFleet(town: Town, options: FleetOptions): Promise<FleetReport> {
  const rng = seededRng(options.seed);
  const names = Array.from({ length: options.terminals }, (_, at) => `T${at}`);
  const permitted = names.map(() =>
    names.map(() => randomBelow(rng, PER_CENT) < options.permittedPercent),
  );
  const agents: Agent[] = [];
  for (const [callee, name] of names.entries()) {
    const allowed = names.filter((_, caller) => permitted[caller][callee]);
    const agent = await town.start(await town.enrol(name, allowing(...allowed)));
    agent.onIncoming(answerWithHash);
    agents.push(agent);
  }
  const report = {
    introduced: 0,
    refused: 0,
    unanswered: 0,
    wrongIntroductions: [] as string[],
    wrongRefusals: [] as string[],
    damaged: [] as string[],
    bytes: 0,
    setUpMs: [] as number[],
  };
  const pairs = Array.from({ length: options.calls }, () => {
    const caller = randomBelow(rng, names.length);
    const callee = (caller + 1 + randomBelow(rng, names.length - 1)) % names.length;
    return { caller, callee, bytes: randomBytes(rng, 1 + randomBelow(rng, options.bytesMax)) };
  });
  const next = pairs.values();
  const worker = async (): Promise<void> => {
    for (const { caller, callee, bytes } of next) {
      const label = `${names[caller]} → ${names[callee]}`;
      const begun = performance.now();
      try {
        const session = await agents[caller].call({
          to: names[callee],
          service: SERVICE,
          waitMs: permitted[caller][callee] ? PERMITTED_WAIT_MS : options.waitMs,
        });
        report.introduced += 1;
        report.setUpMs.push(performance.now() - begun);
        if (!permitted[caller][callee]) report.wrongIntroductions.push(label);
        if (!(await isDelivered(session, bytes))) report.damaged.push(label);
        report.bytes += bytes.length;
      } catch (error) {
        const isRefusal = error instanceof NakodoError && error.exit === EXIT.refused;
        if (permitted[caller][callee]) {
          report.wrongRefusals.push(`${label}: ${errorMessage(error)}`);
        } else if (isRefusal) report.refused += 1;
        else report.unanswered += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: options.parallel }, worker));
  report.setUpMs.sort((a, b) => a - b);
  return report;
}

/** Answers every stream with the SHA-256 of what came on it. */
export function answerWithHash(session: Session): void {
  session.on('stream', (stream) => void answer(stream));
}

async function answer(stream: Duplex): Promise<void> {
  try {
    const hash = createHash('sha256');
    // Not destroyed at its end: the other direction is still to be written.
    const chunks = stream.iterator({ destroyOnReturn: false });
    for await (const chunk of chunks) hash.update(chunk as Uint8Array);
    stream.end(hash.digest());
  } catch {
    // The talk ended under way; its end is reported where ends are.
    stream.destroy();
  }
}

/** Sends the bytes, compares the hash that comes back, ends the talk as done. */
async function isDelivered(session: Session, bytes: Uint8Array): Promise<boolean> {
  const stream = session.openStream();
  stream.end(bytes);
  const hash = await buffer(stream);
  session.finish('done');
  const { reason } = await session.ended;
  return reason === 'done' && hash.equals(createHash('sha256').update(bytes).digest());
}
