// Two who have a place on the control plane and misuse it. A broker (threats T5) that forges,
// repeats and misdirects what it passes on; and an enrolled terminal with a program of its own
// (T6): it publishes what it likes where its rights let it, asks for everybody, announces addresses
// that are not its own. Neither has another's key.

import { encodeMessage } from '../../protocol/control/codec.ts';
import { parseTopic, topic } from '../../protocol/control/topics.ts';
import type { Name } from '../../protocol/ids.ts';
import { randomRequestId } from '../../protocol/ids.ts';
import { randomBelow } from '../../protocol/random.ts';
import { after } from '../../protocol/time.ts';
import type { VirtualTerminal } from '../parties/virtual-terminal.ts';
import { gap, pick } from '../strikes.ts';
import type { Watcher, World } from '../world.ts';
import { Overheard, distorted } from './overheard.ts';

const VICTIM_ADDRESS = Uint8Array.of(198, 51, 100, 7);
const VICTIM_PORT = 53;
const DEADLINE_MS = 5_000;

interface Said {
  readonly topic: string;
  readonly bytes: Uint8Array;
}

/** Begins both, at the rates of `hostile.broker` and `hostile.terminal`. */
export function beginControlAttack(world: World): Watcher {
  const heard = new Overheard<Said>();
  const own = new Map<VirtualTerminal, Overheard<Said>>();
  repeat(world, 'hostile.broker', () => strikeAsBroker(world, heard));
  repeat(world, 'hostile.terminal', () => strikeAsTerminal(world, own));
  const isListening = world.options['hostile.broker'] > 0 || world.options['hostile.terminal'] > 0;
  return {
    onHappening(happening) {
      if (!isListening || happening.kind !== 'published') return;
      const said = { topic: happening.topic, bytes: happening.bytes.slice() };
      heard.hear(said);
      const { party } = happening;
      if (party === 'manager') return;
      let kept = own.get(party);
      if (kept === undefined) own.set(party, (kept = new Overheard()));
      kept.hear(said);
    },
  };
}

function repeat(
  world: World,
  option: 'hostile.broker' | 'hostile.terminal',
  strike: () => boolean,
): void {
  const perMinute = world.options[option];
  const rng = world.rng(`gap/${option}`);
  const again = (): void =>
    world.schedule(after(world.now, gap(rng, perMinute)), () => {
      if (!world.isFaulty) return;
      if (strike()) world.fired(option);
      again();
    });
  if (perMinute > 0) again();
}

/** A broker that says something in somebody's name, or to somebody else. */
function strikeAsBroker(world: World, heard: Overheard<Said>): boolean {
  const rng = world.rng(`hostile/broker/${world.events}`);
  const said = heard.recall(rng);
  if (said === undefined || !world.broker.isUp) return false;
  const place = parseTopic(said.topic);
  const bytes = distorted(rng, said.bytes);
  const other = pick(rng, world.terminals);
  const isMoved = randomBelow(rng, 3) === 0 && place !== undefined && 'device' in place;
  const of = isMoved && place.of !== 'trigger-state' ? place.of : undefined;
  // What a terminal said to the manager, said in another's name; what was for one, told another.
  const name = of === undefined ? said.topic : topic(of, other.id);
  if (place?.of === 'trigger' && randomBelow(rng, 2) === 0) {
    const request = randomRequestId(rng);
    const call = { kind: 'call', request, deadlineMs: DEADLINE_MS, payload: bytes } as const;
    if (bytes.length === 0 || bytes.length > PAYLOAD_MAX) return false;
    world.broker.forge(topic('call', other.id), encodeMessage(call));
  } else world.broker.forge(name, bytes);
  return true;
}

const PAYLOAD_MAX = 2_000;

/** An enrolled terminal that is connected, with a program of its own. */
function strikeAsTerminal(world: World, own: Map<VirtualTerminal, Overheard<Said>>): boolean {
  const rng = world.rng(`hostile/terminal/${world.events}`);
  const linked = world.terminals.filter(({ isLinked }) => isLinked);
  if (linked.length === 0) return false;
  const rogue = linked[0];
  const { connection } = rogue;
  if (connection === undefined) return false;
  const victim = pick(rng, world.terminals);
  const say = (name: string, bytes: Uint8Array): void =>
    world.broker.publish(connection, name, bytes);
  switch (randomBelow(rng, 4)) {
    case 0: {
      // An address that is not its own, so that others send there.
      const record = randomRequestId(rng);
      const candidates = [{ address: VICTIM_ADDRESS, port: VICTIM_PORT, type: 'host' as const }];
      const address = { kind: 'address', record: record as never, candidates } as const;
      say(topic('address', rogue.id), encodeMessage(address));
      return true;
    }
    case 1: {
      const said = own.get(rogue)?.recall(rng);
      if (said === undefined) return false;
      say(said.topic, distorted(rng, said.bytes));
      return true;
    }
    case 2: {
      // Where it has no right to speak.
      const said = own.get(victim)?.recall(rng);
      const places = ['up', 'allow-list', 'trigger', 'call', 'down', 'address'] as const;
      if (said === undefined) return false;
      say(topic(pick(rng, places), victim.id), said.bytes);
      return true;
    }
    default: {
      const wish = { service: 'pipe', want: {}, waitMs: 1_000, extend: true };
      const callee = randomBelow(rng, 2) === 0 ? victim.name : (`guess-${rng.next()}` as Name);
      return callee !== rogue.name && rogue.call({ callee, ...wish }) !== undefined;
    }
  }
}
