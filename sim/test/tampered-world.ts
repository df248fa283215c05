// A world whose invariants hear something else than what happens: each of their tests needs a
// positive control. What the parties do stays as it is; single happenings are altered, left out or
// told twice on their way to those who judge.

import { seconds } from '../../protocol/time.ts';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import type { Kind, Message, MessageOf } from '../../protocol/control/messages.ts';
import { after } from '../../protocol/time.ts';
import { fastSuite } from '../crypto/fast-suite.ts';
import type { Happening } from '../happenings.ts';
import { controlWatchers } from '../invariants/control-plane.ts';
import { liveness } from '../liveness.ts';
import { CALM, type Options } from '../options.ts';
import { beginStrikes } from '../strikes.ts';
import { Violation } from '../violation.ts';
import { Workload } from '../workload.ts';
import { World } from '../world.ts';

/** What is different from what happens. */
export interface Tampering {
  /** What is heard in place of a happening; undefined: the happening itself. */
  readonly alter?: (happening: Happening, world: World) => readonly Happening[] | undefined;
  /** Before the world is opened. */
  readonly prepare?: (world: World) => void;
  readonly options?: Partial<Options>;
  readonly seed?: number;
  /** The one invariant that is asked: others may notice the same, and sooner. */
  readonly only?: string;
}

const WORK: Options = { ...CALM, 'udp.delay': 10, 'work.calls': 30, 'work.bytes': 2_000 };
const RUNS_SECONDS = 12;
const TERMINALS = 4;

/** Runs one world with the invariants of the control plane alone; what they say, or undefined. */
export function judged({ alter, prepare, options, seed = 1, only }: Tampering): string | undefined {
  const suite = fastSuite;
  const world = new World({
    seed,
    terminals: TERMINALS,
    options: { ...WORK, ...options },
    suite,
    permittedShare: 0.7,
  });
  const watchers = controlWatchers(world);
  const violate = world.violate.bind(world);
  world.violate = (invariant, says) => {
    if (only === undefined || only === invariant) violate(invariant, says);
    // What does not count here is not thrown: its watcher goes on as if all were well.
    return undefined as never;
  };
  world.watchers.push({
    onHappening(happening) {
      for (const heard of alter?.(happening, world) ?? [happening])
        for (const watcher of watchers) watcher.onHappening?.(heard);
    },
    afterEvent: (touched) => watchers.forEach((watcher) => watcher.afterEvent?.(touched)),
    atEnd: () => watchers.forEach((watcher) => watcher.atEnd?.()),
  });
  try {
    prepare?.(world);
    const workload = new Workload(world);
    world.open();
    workload.begin();
    beginStrikes(world);
    world.run(after(world.now, seconds(RUNS_SECONDS)));
    liveness(world, workload);
    for (const watcher of world.watchers) watcher.atEnd?.();
    return undefined;
  } catch (error) {
    if (error instanceof Violation) return `${error.invariant}: ${error.says}`;
    throw error;
  }
}

type Of<K, H = Happening> = H extends { readonly kind: infer Kinds }
  ? K extends Kinds
    ? H
    : never
  : never;

/** Alters happenings of one kind. */
export const altering =
  <K extends Happening['kind']>(
    kind: K,
    alter: (happening: Of<K>, world: World) => readonly Happening[] | undefined,
  ): NonNullable<Tampering['alter']> =>
  (happening, world) =>
    happening.kind === kind ? alter(happening as Of<K>, world) : undefined;

/** Alters messages of one kind on their way through the seal; undefined: as it is. */
export const altered = <K extends Kind>(
  how: 'sealed' | 'opened',
  kind: K,
  alter: (message: MessageOf<K>, world: World) => readonly Message[] | undefined,
): NonNullable<Tampering['alter']> =>
  altering(how, (happening, world) => {
    const message = decodeMessage(happening.bytes.slice());
    if (message?.kind !== kind) return undefined;
    return alter(message as MessageOf<K>, world)?.map((other) => ({
      ...happening,
      bytes: encodeMessage(other),
    }));
  });

/** The first happening for which `isIt` holds is told otherwise, all others as they are. */
export function once(
  isIt: (happening: Happening) => boolean,
  alter: (happening: Happening, world: World) => readonly Happening[],
): NonNullable<Tampering['alter']> {
  let isDone = false;
  return (happening, world) => {
    if (isDone || !isIt(happening)) return undefined;
    isDone = true;
    return alter(happening, world);
  };
}
