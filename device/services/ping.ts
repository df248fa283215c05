// The service `ping`: each small message comes back as it is. It is there without any setting; the
// owner's list still decides who may ask. An answer is as long as its question, short, and so many
// a second at most: nobody's talk is made louder by it.

import { Clock } from '../../protocol/io/clock.ts';
import { type Micros, MICROS_PER_SECOND } from '../../protocol/time.ts';
import type { Session } from '../shell/session.ts';
import type { Service } from './service.ts';

/** The service's name, which an allow-list permits. */
export const PING_SERVICE = 'ping';
/** Bytes of the longest message that comes back; a longer one does not. */
export const PING_BYTES_MAX = 64;
/** Answers a second of one talk, and as many at once; a command asks ten times a second at most. */
export const PING_ANSWERS_PER_SECOND = 20;

/** Answers pings. */
export const pingService: Service = {
  matches: (name) => name === PING_SERVICE,
  serve(session) {
    echo(session);
  },
};

function echo(session: Session): void {
  const clock = new Clock();
  let answers = PING_ANSWERS_PER_SECOND;
  let countedAt: Micros = clock.now();
  session.on('datagram', (message) => {
    const now = clock.now();
    const more = ((now - countedAt) / MICROS_PER_SECOND) * PING_ANSWERS_PER_SECOND;
    answers = Math.min(PING_ANSWERS_PER_SECOND, answers + more);
    countedAt = now;
    if (message.length > PING_BYTES_MAX || answers < 1) return;
    answers -= 1;
    session.sendDatagram(message);
  });
}
