// Who is served when, of all streams that peers open for files: so many of one talk, of one peer
// and of all at the same time, the rest in the order in which it came. What waits and goes away, or
// whose talk ends, is forgotten. The owner hears of each kind of trouble once a talk.

import { errorCode } from '../../../protocol/errors.ts';
import type { Log } from '../../../protocol/io/log.ts';
import type { Session } from '../../shell/session.ts';
import type { TalkStream } from '../../shell/talk-stream.ts';
import { FILE_LIMITS } from './limits.ts';
import { Turns } from './turns.ts';

/** What becomes of the streams of one talk. */
interface Serving {
  /** At the same time. */
  readonly streams: number;
  readonly work: (stream: TalkStream) => Promise<void>;
  readonly log: Log;
  /** The event of the log for a stream that came to nothing. */
  readonly trouble: string;
}

interface OfPeer {
  readonly turns: Turns;
  talks: number;
}

/** The turns of one service, in all talks of this process. */
export class FairTurns {
  readonly #all = new Turns(FILE_LIMITS.filesAtOnce);
  /** Of peers with a talk: at most LIMITS.callsMax. */
  readonly #peers = new Map<string, OfPeer>();

  /** Takes the streams of a talk, each in its turn. */
  serve(session: Session, { streams, work, log, trouble }: Serving): void {
    const { id, name } = session.info.peer;
    const ofTalk = new Turns(streams);
    const ofPeer = this.#peers.get(id) ?? {
      turns: new Turns(FILE_LIMITS.filesAtOnceOfPeer),
      talks: 0,
    };
    ofPeer.talks += 1;
    this.#peers.set(id, ofPeer);
    const waiting = new Set<TalkStream>();
    void session.ended.then(() => {
      for (const stream of waiting) stream.destroy();
      ofPeer.talks -= 1;
      if (ofPeer.talks === 0) this.#peers.delete(id);
    });
    const told = new Set<string>();
    session.on('stream', (stream) => {
      waiting.add(stream);
      const mine = async (): Promise<void> => {
        waiting.delete(stream);
        await work(stream);
      };
      const ofAll = (): Promise<void> => this.#all.run(1, mine, stream);
      const served = ofTalk.run(1, () => ofPeer.turns.run(1, ofAll, stream), stream);
      const onFailed = (error: unknown): void => {
        const code = errorCode(error);
        // A peer that asks in vain again and again would else fill the log.
        if (!told.has(code)) log.warn(trouble, { code, peer: name });
        told.add(code);
        stream.destroy();
      };
      void served.catch(onFailed).finally(() => waiting.delete(stream));
    });
  }
}
