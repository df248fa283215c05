// The communication requests that a callee has not done with: bounded, counted before anything is
// waited for, half of them kept for callers that are known, so that strangers cannot starve them.

import type { ListVerdict } from '../protocol/consent/allow-list.ts';
import type { MessageOf } from '../protocol/control/messages.ts';
import type { RecordId, RequestId } from '../protocol/ids.ts';
import { LIMITS } from '../protocol/limits.ts';
import type { Micros } from '../protocol/time.ts';
import type { SignedAnswer } from './signed-answer.ts';
import type { SocketId } from './terminal-types.ts';

/** One communication request, from the question to the talk, or to nothing. */
export interface Answer {
  readonly ask: MessageOf<'ask'>;
  /** The caller is pinned. */
  readonly isKnown: boolean;
  /** When the caller stops waiting. */
  readonly until: Micros;
  readonly deadline: Micros;
  state: 'reading' | 'asking' | 'agreed' | 'checking' | 'refused';
  /** When the list was last judged. */
  judgedAt: Micros;
  /** The owner was asked and said yes. */
  approved: boolean;
  /** The question that waits for the owner's word. */
  ownerAsk: number | undefined;
  allowed: Extract<ListVerdict, { allowed: true }> | undefined;
  socket: SocketId | undefined;
  record: RecordId | undefined;
  /** The answer as it was sent, or waits to be sent. */
  reply: SignedAnswer | undefined;
  isSent: boolean;
}

/** All of them, refused ones too, so that the same question gets the same answer again. */
export class OpenAnswers {
  readonly #answers = new Map<RequestId, Answer>();

  /** How many are not decided, or agreed and waiting for their notice. */
  get openCount(): number {
    let count = 0;
    for (const { state } of this.#answers.values()) if (state !== 'refused') count += 1;
    return count;
  }

  /** What there is, oldest first; entries may be dropped meanwhile. */
  values(): Iterable<Answer> {
    return this.#answers.values();
  }

  get(request: RequestId): Answer | undefined {
    return this.#answers.get(request);
  }

  /** Keeps an answer; `hasRoom` was asked before. */
  add(answer: Answer): void {
    this.#answers.set(answer.ask.request, answer);
  }

  drop(answer: Answer): void {
    this.#answers.delete(answer.ask.request);
  }

  /** Whether this one is still kept. */
  has(answer: Answer): boolean {
    return this.#answers.get(answer.ask.request) === answer;
  }

  /** The yes that was given under this nonce and waits for its notice. */
  agreedUnder(nonce: RequestId): Answer | undefined {
    for (const answer of this.#answers.values()) {
      if (answer.state === 'agreed' && answer.reply?.nonce === nonce) return answer;
    }
    return undefined;
  }

  bySocket(socket: SocketId): Answer | undefined {
    for (const answer of this.#answers.values()) if (answer.socket === socket) return answer;
    return undefined;
  }

  /**
   * Whether one more may be open: at most LIMITS.callsMax, callers that are not pinned at most half
   * of that. At LIMITS.answersMax the oldest refusal is forgotten.
   */
  hasRoom(isKnown: boolean): boolean {
    if (this.openCount >= LIMITS.callsMax) return false;
    if (!isKnown && this.#strangers() >= LIMITS.callsMax / 2) return false;
    if (this.#answers.size < LIMITS.answersMax) return true;
    for (const answer of this.#answers.values()) {
      if (answer.state !== 'refused') continue;
      this.drop(answer);
      return true;
    }
    return false;
  }

  #strangers(): number {
    let count = 0;
    for (const { isKnown, state } of this.#answers.values()) {
      if (!isKnown && state !== 'refused') count += 1;
    }
    return count;
  }
}
