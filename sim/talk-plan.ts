// What both ends of a talk will say and do, as a pure function of session and options: so that each
// end knows its part without being told, and whoever replays a seed sees the same, whatever else
// happens in the world. Sizes are mostly small, a few are large.

import type { Role } from '../protocol/data/connection-types.ts';
import type { SessionId } from '../protocol/ids.ts';
import { type Rng, randomBelow, randomFraction, seededRng } from '../protocol/random.ts';
import type { Options } from './options.ts';

const WEIGHTS = [1, 1, 1, 4, 64];
const TRICKLE_SHARE = 0.5;
const CALLEE_OPENS_SHARE = 0.3;
const MESSAGE_MS_LEAST = 20;
const MESSAGE_MS_MOST = 2_000;
const MESSAGES_MAX = 120;

/** One direction of one stream. */
export interface FlowPlan {
  readonly bytes: number;
  /** Its writer resets it when so much is written. */
  readonly resetAt: number | undefined;
  /** Its reader stops it when so much is read. */
  readonly stopAt: number | undefined;
  /** Its reader reads a little now and then. */
  readonly isSlow: boolean;
}

/** One stream. */
interface StreamPlan {
  readonly opener: Role;
  readonly weight: number;
  /** What its opener says, and what the other end says. */
  readonly there: FlowPlan;
  readonly back: FlowPlan;
  /** The other end says it at once, or when it has heard everything: a half-closed stream. */
  readonly isAnsweredAtOnce: boolean;
}

/** One talk. */
export interface TalkPlan {
  readonly streams: readonly StreamPlan[];
  /** Unreliable messages each way, and milliseconds between two. */
  readonly messages: Readonly<Record<Role, number>>;
  readonly messageEveryMs: number;
  /** It goes on until something ends it: bytes trickle through one more stream. */
  readonly isHeld: boolean;
  readonly trickles: boolean;
  /** Who ends it when all is said, and how. */
  readonly ender: Role;
  readonly reason: 'done' | 'local';
}

/** The plan of a talk, the same at both ends. */
export function planOf(session: SessionId, options: Options): TalkPlan {
  const rng = seededRng(seedOf(session));
  const count = 1 + randomBelow(rng, Math.max(1, Math.floor(options['work.streams'])));
  const streams = Array.from({ length: count }, (_, index) => streamOf(rng, options, index, count));
  const hasMessages = randomFraction(rng) < options['work.datagrams'];
  const ratio = MESSAGE_MS_MOST / MESSAGE_MS_LEAST;
  return {
    streams,
    messages: {
      caller: hasMessages ? randomBelow(rng, MESSAGES_MAX) : 0,
      callee: hasMessages ? randomBelow(rng, MESSAGES_MAX) : 0,
    },
    messageEveryMs: MESSAGE_MS_LEAST * ratio ** randomFraction(rng),
    isHeld: randomFraction(rng) < options['work.hold'],
    trickles: randomFraction(rng) < TRICKLE_SHARE,
    ender: randomBelow(rng, 4) === 0 ? 'callee' : 'caller',
    reason: randomBelow(rng, 8) === 0 ? 'local' : 'done',
  };
}

/** The first one is the caller's: a talk in which nobody speaks shows nothing. */
function streamOf(rng: Rng, options: Options, index: number, count: number): StreamPlan {
  const isCallees = randomFraction(rng) < CALLEE_OPENS_SHARE && index > 0;
  const most = options['work.bytes'] / Math.sqrt(count);
  return {
    opener: isCallees ? 'callee' : 'caller',
    weight: WEIGHTS[randomBelow(rng, WEIGHTS.length)],
    there: flowOf(rng, options, most),
    back: flowOf(rng, options, most),
    isAnsweredAtOnce: randomBelow(rng, 2) === 0,
  };
}

function flowOf(rng: Rng, options: Options, most: number): FlowPlan {
  // The cube: seven of eight are below two thirds, half below an eighth of the most.
  const bytes = Math.floor(most * randomFraction(rng) ** 3);
  const isGivenUp = randomFraction(rng) < options['work.abort'];
  const at = Math.floor(bytes * randomFraction(rng));
  const byWriter = randomBelow(rng, 2) === 0;
  return {
    bytes,
    resetAt: isGivenUp && byWriter ? at : undefined,
    stopAt: isGivenUp && !byWriter ? at : undefined,
    isSlow: randomFraction(rng) < options['work.slow'],
  };
}

/** A number that both ends make of a session, or of whatever else has a name. */
function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

/** Length of a session's message of that number, 8 to 900 bytes. */
export function messageBytes(session: SessionId, number: number): number {
  return 8 + (seededRng(seedOf(session) ^ Math.imul(number + 1, 0x9e3779b1)).next() % 893);
}

/**
 * Fills `into` with what one side says on a stream (or in a numbered message) from `offset` on: the
 * same bytes for the same place, whatever pieces it is asked for in.
 */
export function contentOf(
  session: SessionId,
  stream: number,
  role: Role,
  offset: number,
  into: Uint8Array,
): void {
  const side = role === 'caller' ? 0 : 1;
  const seed = seedOf(session) ^ Math.imul(stream * 2 + side + 1, 0x85ebca6b);
  let mixed = wordAt(seed, offset >>> 2);
  for (let at = 0; at < into.length; at++) {
    const place = offset + at;
    if ((place & 3) === 0) mixed = wordAt(seed, place >>> 2);
    into[at] = mixed >>> ((place & 3) * 8);
  }
}

function wordAt(seed: number, index: number): number {
  const word = Math.imul(index ^ seed, 0x9e3779b1);
  const mixed = Math.imul(word ^ (word >>> 15), 0x85ebca77);
  return mixed ^ (mixed >>> 13);
}
