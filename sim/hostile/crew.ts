// The terminals of a world that run a program of their own, and what they do with it: as callers
// who ask for everybody and for more than they get, as callees who answer late, twice, never or
// falsely, as ends of a talk that forget time and quota, as neighbours who announce what is not
// theirs. They are enrolled and sign rightly; half of all lists name them.

import { Connection } from '../../protocol/data/connection.ts';
import type { Name, SessionId } from '../../protocol/ids.ts';
import { type Rng, randomBytes, randomFraction } from '../../protocol/random.ts';
import { ms } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import { ANY_SERVICE } from '../permissions.ts';
import type { Application } from '../parties/virtual-terminal.ts';
import { pick } from '../strikes.ts';
import type { Watcher, World } from '../world.ts';
import { actAtRate, did, later } from './deeds.ts';
import { MADE_FRAMES, overwriteFrames } from './made-frames.ts';
import { RogueTerminal } from './rogue-terminal.ts';
import { RogueWords } from './rogue-words.ts';

/** Alone; and as many as together exceed what one callee answers to strangers. */
const CREW = 1;
const CONSPIRATORS = 3;
const CALLS_EACH = 5;
const GREEDY_BYTES = 120_000;
const GREEDY_SECONDS = 3_600;
const EXPIRY_BYTES = 90;
const SIGNATURE_BYTES = 64;
const WAIT_MS = 4_000;

/** Whether anybody in this world has a program of its own. */
const hasCrew = ({ options }: World): boolean =>
  options['hostile.terminal'] > 0 ||
  options['hostile.frames'] > 0 ||
  options['hostile.greed'] > 0 ||
  options['hostile.collusion'] > 0;

/** Has them enrolled with the others: before the world is opened. */
export function enlistCrew(world: World): readonly RogueTerminal[] {
  const crew: RogueTerminal[] = [];
  if (!hasCrew(world)) return crew;
  const count = world.options['hostile.collusion'] > 0 ? CONSPIRATORS : CREW;
  for (let number = 0; number < count; number++) {
    world.join(`rogue-${number}` as Name, (parts) => {
      const rogue = new RogueTerminal(world, parts);
      crew.push(rogue);
      return rogue;
    });
  }
  return crew;
}

/** Gives each its program: from now on they misbehave. */
export function beginCrew(world: World, crew: readonly RogueTerminal[]): readonly Watcher[] {
  if (crew.length === 0) return [];
  const words = new RogueWords(world, crew);
  for (const [number, rogue] of crew.entries()) {
    rogue.program = programOf(world, rogue, words);
    // Those who only ask are not there to talk: it costs a world its time.
    if (number >= CREW) rogue.application = HASTY;
  }
  actAtRate(world, 'hostile.terminal', words.deeds);
  actAtRate(world, 'hostile.collusion', {
    'many ask for one that sleeps': (rng) => collude(world, crew, rng),
  });
  return [words, new Greed(world)];
}

/** Ends every talk as soon as it is open. */
const HASTY: Application = {
  onEvent: (terminal, event) => {
    if (event.kind === 'talk' && event.event.kind === 'established')
      terminal.end(event.session, 'local');
  },
};

function programOf(
  world: World,
  rogue: RogueTerminal,
  words: RogueWords,
): RogueTerminal['program'] {
  const rng = world.rng(`frames/${rogue.name}`);
  return {
    rewrite: (message) => (world.isFaulty ? words.rewrite(rogue, message) : undefined),
    readdress: (bytes) => (world.isFaulty ? words.readdress(bytes) : undefined),
    hears: (name) => !world.isFaulty || words.hears(rogue, name),
    overwrite: (buffer, start, length) => {
      const share = world.options['hostile.frames'];
      if (share === 0 || !world.isFaulty || randomFraction(rng) >= share) return;
      const kind = pick(rng, MADE_FRAMES);
      overwriteFrames(rng, kind, { buffer, start, length });
      did(world, 'hostile.frames', kind);
    },
  };
}

/** All of them ask for the same one, as often as they can, most likely while it sleeps. */
function collude(world: World, crew: readonly RogueTerminal[], rng: Rng): boolean {
  const honest = world.terminals.filter((terminal) => !world.isRogue(terminal));
  const asleep = honest.filter(({ pollSeconds }) => pollSeconds !== undefined);
  const callee = pick(rng, asleep.length > 0 ? asleep : honest).name;
  for (const rogue of crew) {
    for (let count = 0; count < CALLS_EACH; count++) {
      const service = pick(rng, ANY_SERVICE);
      rogue.call({ callee, service, want: {}, waitMs: WAIT_MS, extend: false });
    }
  }
  return true;
}

/** A terminal that forgets, at its own end of a talk, how long and how much it may. */
class Greed implements Watcher {
  readonly #world: World;
  readonly #rng: Rng;
  readonly #greedy = new Set<SessionId>();

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng('hostile/greed');
  }

  onHappening(happening: Happening): void {
    if (happening.kind !== 'event' || !this.#world.isFaulty) return;
    const { terminal, event } = happening;
    if (event.kind === 'ended' && this.#greedy.has(event.session)) {
      const isHonest = !this.#world.isRogue(terminal);
      if (isHonest && (event.reason === 'quota' || event.reason === 'time'))
        this.#world.mark(`hostile.greed: stopped by ${event.reason}`);
    }
    if (event.kind !== 'talk' || event.event.kind !== 'established') return;
    const { session } = event;
    if (!(terminal instanceof RogueTerminal)) return;
    if (randomFraction(this.#rng) >= this.#world.options['hostile.greed']) return;
    later(this.#world, ms(1), () => this.#begin(terminal, session));
  }

  #begin(terminal: RogueTerminal, session: SessionId): void {
    const talk = terminal.talk(session);
    if (!(talk instanceof Connection)) return;
    const expiry = randomBytes(this.#rng, EXPIRY_BYTES);
    const signature = randomBytes(this.#rng, SIGNATURE_BYTES);
    const isMore = talk.extend(terminal.clock.local(this.#world.now), {
      seconds: GREEDY_SECONDS,
      bytes: undefined,
      revision: 1,
      message: { expiry, signature },
    });
    if (!isMore) return;
    did(this.#world, 'hostile.greed', 'an end forgets time and quota');
    this.#greedy.add(session);
    const stream = terminal.openStream(session);
    if (stream !== undefined) terminal.write(session, stream, new Uint8Array(GREEDY_BYTES));
  }
}
