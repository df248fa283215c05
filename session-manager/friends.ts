// Who may put questions to a callee, and how many at once (design §4): at most
// LIMITS.asksPerCalleeMax are open at one callee, and callers that it never talked with, strangers,
// have at most half of them, so that they cannot starve its friends; one stranger has at most
// LIMITS.asksPerStrangerMax, so that it cannot starve the others where a callee sleeps. What finds
// no room waits its turn, friends first, then one caller after another, for as long as its caller
// waits: a crowd that calls at once is served one after another.

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

/** What is put to a callee, by whom. */
interface Question {
  readonly callerId: DeviceId;
}

/** What is open at one callee, and what waits for room there. */
interface Desk<T> {
  /** Whether its caller was a friend when it was put. */
  readonly open: Map<T, boolean>;
  /** Open questions of strangers: in all, and of each who has any. */
  strangers: number;
  readonly perStranger: Map<DeviceId, number>;
  readonly friendsWaiting: Set<T>;
  /** By caller, whoever had its turn longest ago first; nobody without a question. */
  readonly strangersWaiting: Map<DeviceId, Set<T>>;
}

/** The questions of all callees; bounded by the introductions under way. */
export class Budgets<T extends Question> {
  readonly #desks = new Map<DeviceId, Desk<T>>();

  /** Callees that have questions. */
  get size(): number {
    return this.#desks.size;
  }

  /** Whether `question` may be put now; if not it waits until `leave` gives it out. */
  enter(callee: DeviceId, question: T, isFriend: boolean): boolean {
    const desk = this.#desks.get(callee) ?? emptyDesk<T>();
    this.#desks.set(callee, desk);
    if (hasRoomFor(desk, question, isFriend)) {
      open(desk, question, isFriend);
      return true;
    }
    if (isFriend) desk.friendsWaiting.add(question);
    else wait(desk, question);
    return false;
  }

  /** A question is answered or over, open or waiting; returns the one whose turn it is, if any. */
  leave(callee: DeviceId, question: T): T | undefined {
    const desk = this.#desks.get(callee);
    if (desk === undefined) return undefined;
    desk.friendsWaiting.delete(question);
    stopWaiting(desk, question);
    close(desk, question);
    const friend = hasRoom(desk) ? first(desk.friendsWaiting) : undefined;
    const turn = friend ?? nextStranger(desk);
    if (turn !== undefined) {
      desk.friendsWaiting.delete(turn);
      open(desk, turn, friend !== undefined);
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
    const strangers = [...desk.strangersWaiting.values()].flatMap((own) => [...own]);
    return [...desk.open.keys(), ...desk.friendsWaiting, ...strangers];
  }
}

function emptyDesk<T>(): Desk<T> {
  return {
    open: new Map(),
    strangers: 0,
    perStranger: new Map(),
    friendsWaiting: new Set(),
    strangersWaiting: new Map(),
  };
}

const hasRoom = (desk: Desk<unknown>): boolean => desk.open.size < LIMITS.asksPerCalleeMax;

const hasRoomForStrangers = (desk: Desk<unknown>): boolean =>
  hasRoom(desk) && desk.strangers < LIMITS.asksPerCalleeMax / 2;

const mayOpenMore = ({ perStranger }: Pick<Desk<unknown>, 'perStranger'>, stranger: DeviceId) =>
  (perStranger.get(stranger) ?? 0) < LIMITS.asksPerStrangerMax;

function hasRoomFor(desk: Desk<unknown>, { callerId }: Question, isFriend: boolean): boolean {
  return isFriend ? hasRoom(desk) : hasRoomForStrangers(desk) && mayOpenMore(desk, callerId);
}

function open<T extends Question>(desk: Desk<T>, question: T, isFriend: boolean): void {
  desk.open.set(question, isFriend);
  if (!isFriend) countStranger(desk, question, 1);
}

function close<T extends Question>(desk: Desk<T>, question: T): void {
  if (desk.open.get(question) === false) countStranger(desk, question, -1);
  desk.open.delete(question);
}

function countStranger(desk: Desk<unknown>, { callerId }: Question, change: 1 | -1): void {
  const own = (desk.perStranger.get(callerId) ?? 0) + change;
  desk.strangers += change;
  if (own > 0) desk.perStranger.set(callerId, own);
  else desk.perStranger.delete(callerId);
}

function wait<T extends Question>(desk: Desk<T>, question: T): void {
  const own = desk.strangersWaiting.get(question.callerId) ?? new Set<T>();
  desk.strangersWaiting.set(question.callerId, own.add(question));
}

function stopWaiting<T extends Question>(desk: Desk<T>, question: T): void {
  const own = desk.strangersWaiting.get(question.callerId);
  if (own?.delete(question) === true && own.size === 0) {
    desk.strangersWaiting.delete(question.callerId);
  }
}

/**
 * Takes out the stranger's question whose turn it is. Few are passed over: those who have all that
 * they may have open.
 */
function nextStranger<T extends Question>(desk: Desk<T>): T | undefined {
  if (!hasRoomForStrangers(desk)) return undefined;
  for (const [stranger, own] of desk.strangersWaiting) {
    const question = mayOpenMore(desk, stranger) ? first(own) : undefined;
    if (question === undefined) continue;
    own.delete(question);
    // Behind the others, if it has more.
    desk.strangersWaiting.delete(stranger);
    if (own.size > 0) desk.strangersWaiting.set(stranger, own);
    return question;
  }
  return undefined;
}

function first<T>(waiting: ReadonlySet<T>): T | undefined {
  for (const question of waiting) return question;
  return undefined;
}
