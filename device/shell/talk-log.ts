// What an agent's log says of its talks: which way they take, that they look for one, how they end;
// and of datagrams that the kernel refused, once a minute. The log hides addresses above debug.

import { errorCode } from '../../protocol/errors.ts';
import type { Log } from '../../protocol/io/log.ts';
import type { TerminalEvent } from '../terminal-types.ts';
import { ToldErrors } from './told-errors.ts';
import { noWayWord, pathWords } from './way.ts';

/** Writes about talks into an agent's log. */
export class TalkLog {
  readonly #log: Log;
  readonly #told = new ToldErrors();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Says what there is to say of an event; of many there is nothing. */
  onEvent(event: TerminalEvent): void {
    switch (event.kind) {
      case 'turnedAway':
      case 'listUnreadable':
        this.#log.info(event.kind, { caller: event.caller, service: event.service });
        break;
      case 'way': {
        const { session, class: way, path } = event;
        this.#log.info('way', { session, way });
        this.#log.debug('way-path', { session, path: pathWords(path) });
        break;
      }
      case 'reintroduced':
        this.#log.info('reintroduced', { session: event.session, by: event.by });
        break;
      case 'searching':
        this.#log.info('searching', { session: event.session });
        this.#log.debug('searching-at', { session: event.session, address: event.address });
        break;
      case 'relayLost':
        this.#log.info('relay-lost', { session: event.session, why: event.says });
        break;
      case 'ended': {
        const { session, reason, counts, class: way, meeting } = event;
        const probes = meeting === undefined || meeting.probes === 0 ? undefined : meeting.probes;
        const isLost = reason === 'path-lost' && meeting !== undefined;
        const why = isLost ? noWayWord(meeting) : undefined;
        this.#log.info('ended', { session, reason, why, way, ...counts, probes });
        break;
      }
      default:
        break;
    }
  }

  /** A datagram that the kernel refused is loss, and the network is often away. */
  onUdpError(error: Error): void {
    const count = this.#told.count(error);
    if (count === undefined) return;
    this.#log.info('udp-error', { code: errorCode(error), why: error.message, count });
  }
}
