// Who may put questions to a callee, and how many at once (design §4): at most
// LIMITS.asksPerCalleeMax are open at one callee, and callers that it never talked with, strangers,
// have at most half of them, so that they cannot starve its friends. What finds no room waits its
// turn, friends first, for as long as its caller waits: a crowd that calls at once is served one
// after another.

import type { DeviceId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import { MANAGER_LIMITS } from './limits.ts';

/** Which callers a callee accepted before: pairs that a session was made for, in this direction. */
export class Friends {
  /** Oldest first: at MANAGER_LIMITS.friendsMax that one is a stranger again. */
  readonly #pairs = new Set<string>();

  get size(): number {
    return this.#pairs.size;
  }

  add(pair: Pair): void {
    const key = pairKey(pair);
    this.#pairs.delete(key);
    this.#pairs.add(key);
    if (this.#pairs.size <= MANAGER_LIMITS.friendsMax) return;
    for (const oldest of this.#pairs) {
      this.#pairs.delete(oldest);
      break;
    }
  }

  has(pair: Pair): boolean {
    return this.#pairs.has(pairKey(pair));
  }
}

interface Pair {
  readonly callerId: DeviceId;
  readonly calleeId: DeviceId;
}

const pairKey = ({ callerId, calleeId }: Pair): string => `${callerId}/${calleeId}`;

/** What is open at one callee, and what waits for room there. */
interface Desk<T> {
  /** Whether its caller is a friend. */
  readonly open: Map<T, boolean>;
  strangers: number;
  readonly friendsWaiting: Set<T>;
  readonly strangersWaiting: Set<T>;
}

/** The questions of all callees; bounded by the introductions under way. */
export class Budgets<T> {
  readonly #desks = new Map<DeviceId, Desk<T>>();

  /** Callees that have questions. */
  get size(): number {
    return this.#desks.size;
  }

  /** Whether `question` may be put now; if not it waits until `leave` gives it out. */
  enter(callee: DeviceId, question: T, isFriend: boolean): boolean {
    const desk = this.#desks.get(callee) ?? emptyDesk<T>();
    this.#desks.set(callee, desk);
    if (hasRoom(desk, isFriend)) {
      open(desk, question, isFriend);
      return true;
    }
    (isFriend ? desk.friendsWaiting : desk.strangersWaiting).add(question);
    return false;
  }

  /** A question is answered or over, open or waiting; returns the one whose turn it is, if any. */
  leave(callee: DeviceId, question: T): T | undefined {
    const desk = this.#desks.get(callee);
    if (desk === undefined) return undefined;
    desk.friendsWaiting.delete(question);
    desk.strangersWaiting.delete(question);
    if (desk.open.get(question) === false) desk.strangers -= 1;
    desk.open.delete(question);
    const next = first(desk.friendsWaiting, hasRoom(desk, true));
    const turn = next ?? first(desk.strangersWaiting, hasRoom(desk, false));
    if (turn !== undefined) {
      (next === undefined ? desk.strangersWaiting : desk.friendsWaiting).delete(turn);
      open(desk, turn, next !== undefined);
    }
    // Whoever waits, waits for an open one: without those nobody is left.
    if (desk.open.size === 0) this.#desks.delete(callee);
    return turn;
  }

  /** The questions that are open at a callee. */
  open(callee: DeviceId): readonly T[] {
    return [...(this.#desks.get(callee)?.open.keys() ?? [])];
  }

  /** The callee is gone: all its questions, open and waiting. */
  drop(callee: DeviceId): readonly T[] {
    const desk = this.#desks.get(callee);
    this.#desks.delete(callee);
    if (desk === undefined) return [];
    return [...desk.open.keys(), ...desk.friendsWaiting, ...desk.strangersWaiting];
  }
}

function emptyDesk<T>(): Desk<T> {
  return {
    open: new Map(),
    strangers: 0,
    friendsWaiting: new Set(),
    strangersWaiting: new Set(),
  };
}

function hasRoom(desk: Desk<unknown>, isFriend: boolean): boolean {
  if (desk.open.size >= LIMITS.asksPerCalleeMax) return false;
  return isFriend || desk.strangers < LIMITS.asksPerCalleeMax / 2;
}

function open<T>(desk: Desk<T>, question: T, isFriend: boolean): void {
  desk.open.set(question, isFriend);
  if (!isFriend) desk.strangers += 1;
}

function first<T>(waiting: ReadonlySet<T>, isTheirTurn: boolean): T | undefined {
  if (!isTheirTurn) return undefined;
  for (const question of waiting) return question;
  return undefined;
}
