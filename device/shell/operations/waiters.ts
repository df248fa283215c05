// Commands that wait for a peer's talk (`pipe --accept`), and the streams of such talks until their
// command takes them. A talk goes to the command that has waited longest for its service, and for
// this peer or for anybody.

import { NakodoError } from '../../../protocol/errors.ts';
import type { Name, SessionId } from '../../../protocol/ids.ts';
import type { Session } from '../session.ts';
import type { TalkStream } from '../talk-stream.ts';

/** Commands that wait at once: as many as the local socket serves, and more is a mistake. */
const WAITERS_MAX = 64;

interface Waiter {
  readonly service: string;
  readonly from: Name | undefined;
  resolve(taken: TakenTalk): void;
}

/** A talk that a command got. */
interface TakenTalk {
  readonly session: Session;
  /** Sets who hears of the peer's streams, those that came before included; `take`: its number. */
  onStream(listener: (take: number, parameters: Uint8Array) => void): void;
}

type Streams = Map<number, TalkStream>;

/** The commands of one agent that wait. */
export class Waiters {
  readonly #waiting: Waiter[] = [];
  /** Streams that nobody took yet, by talk; a talk has at most DATA_LIMITS.streamsMax of them. */
  readonly #streams = new Map<SessionId, Streams>();

  /**
   * The next talk of this service. `gone`: the command no longer waits.
   * @throws NakodoError `too-many-waiting`, `command-gone`.
   */
  next(service: string, from: Name | undefined, gone: AbortSignal): Promise<TakenTalk> {
    if (this.#waiting.length >= WAITERS_MAX) {
      throw new NakodoError(
        'too-many-waiting',
        `${WAITERS_MAX} commands wait for talks already`,
        'end one of them',
      );
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { service, from, resolve };
      this.#waiting.push(waiter);
      const leave = (): void => {
        const at = this.#waiting.indexOf(waiter);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(new NakodoError('command-gone', 'the command has gone', 'start it again'));
      };
      gone.addEventListener('abort', leave, { once: true });
    });
  }

  /** Gives a talk that came in to whoever waits for it; false if nobody does. */
  offer(session: Session): boolean {
    const { service, peer } = session.info;
    const at = this.#waiting.findIndex(
      (waiter) =>
        waiter.service === service && (waiter.from === undefined || waiter.from === peer.name),
    );
    if (at < 0) return false;
    const [waiter] = this.#waiting.splice(at, 1);
    waiter.resolve(this.#taken(session));
    return true;
  }

  /** A stream of a talk, once; undefined: it is not there, or somebody has it. */
  take(session: SessionId, number: number): TalkStream | undefined {
    const streams = this.#streams.get(session);
    const stream = streams?.get(number);
    streams?.delete(number);
    return stream;
  }

  #taken(session: Session): TakenTalk {
    const streams: Streams = new Map();
    const early: (readonly [number, Uint8Array])[] = [];
    let listener: ((take: number, parameters: Uint8Array) => void) | undefined;
    let count = 0;
    this.#streams.set(session.info.session, streams);
    void session.ended.then(() => this.#streams.delete(session.info.session));
    session.onStream = (stream, parameters) => {
      const take = ++count;
      streams.set(take, stream);
      stream.once('close', () => streams.delete(take));
      if (listener === undefined) early.push([take, parameters]);
      else listener(take, parameters);
    };
    return {
      session,
      onStream: (heard) => {
        listener = heard;
        for (const [take, parameters] of early.splice(0)) heard(take, parameters);
      },
    };
  }
}

/** The error for a stream that was taken, or is gone. */
export function noSuchStream(): NakodoError {
  return new NakodoError(
    'no-stream',
    'this stream is not there any more, or another command has it',
    'call again',
  );
}
