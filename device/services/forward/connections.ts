// The connections of one forward, over all its talks: how many there are, and that none of them
// outlives its talk. A limit, the operator or a user cuts them at once, in the middle of whatever
// they are in; a talk that is done lets them finish.

import type { Socket } from 'node:net';
import type { Session } from '../../shell/session.ts';
import type { TalkStream } from '../../shell/talk-stream.ts';
import { type Joint, join } from './joint.ts';

/** How a forward stands. */
interface ConnectionCounts {
  readonly open: number;
  readonly total: number;
  /** Connections that came to nothing: no target, or too many at once. */
  readonly refused: number;
}

/** Of one forward. */
export class Connections {
  /** Told of a connection that came to nothing: why, as a code. */
  onRefused: (code: string) => void = () => {};
  /** At most DATA_LIMITS.streamsMax of either end's. */
  readonly #joints = new Map<Session, Set<Joint>>();
  #total = 0;
  #refused = 0;

  /** How many there are now, and were. */
  counts(): ConnectionCounts {
    let open = 0;
    for (const joints of this.#joints.values()) open += joints.size;
    return { open, total: this.#total, refused: this.#refused };
  }

  /** One more, until it is over or the talk is. */
  join(session: Session, stream: TalkStream, socket: Socket): void {
    this.#total += 1;
    const joints = this.#of(session);
    const joint = join(stream, socket, (broken) => {
      joints.delete(joint);
      if (broken === 'target-refused' || broken === 'stream-refused') this.refused(broken);
    });
    joints.add(joint);
  }

  /** One came to nothing. */
  refused(code: string): void {
    this.#refused += 1;
    this.onRefused(code);
  }

  #of(session: Session): Set<Joint> {
    const known = this.#joints.get(session);
    if (known !== undefined) return known;
    const joints = new Set<Joint>();
    this.#joints.set(session, joints);
    void session.ended.then(({ reason }) => {
      if (reason !== 'done') for (const joint of joints) joint.cut();
      this.#joints.delete(session);
    });
    return joints;
  }
}
