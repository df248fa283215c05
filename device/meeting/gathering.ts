// Where one socket can be reached [S1000, S4000]: the machine's own addresses, and what STUN
// servers see (RFC 8489). Our server is beside the broker and is shown the ID of the address
// record, so that it can add what it sees by itself, a round trip earlier; strangers are not.

import type { Candidate } from '../../protocol/control/messages.ts';
import { type Path, type Transmit, samePath } from '../../protocol/core.ts';
import type { RecordId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { Rng } from '../../protocol/random.ts';
import { BindingRequests } from '../../protocol/stun/binding.ts';
import { STUN_LIMITS } from '../../protocol/stun/limits.ts';
import { type Micros, after, earlier, ms } from '../../protocol/time.ts';
import { candidateOf } from '../candidates.ts';
import { MEETING_LIMITS } from './limits.ts';

/** Who is asked. */
export interface StunServers {
  /** The broker's: shown the record. */
  readonly own: readonly Path[];
  /** Others that the manager names, and the owner's further ones. */
  readonly others: readonly Path[];
}

/** What came of it. */
export interface Gathered {
  readonly candidates: readonly Candidate[];
  /** A NAT shows each destination another port; undefined: not known. */
  readonly varies: boolean | undefined;
  /** A server answered; undefined: none was asked. */
  readonly isMapped: boolean | undefined;
}

/** The question about one socket. */
export class Gathering {
  readonly #host: readonly Candidate[];
  readonly #requests: BindingRequests;
  readonly #isAsking: boolean;
  readonly #deadline: Micros;
  #isOver = false;
  #isTold = false;

  /** Questions leave with the first poll. */
  constructor(options: {
    readonly now: Micros;
    readonly rng: Rng;
    readonly host: readonly Candidate[];
    readonly servers: StunServers;
    readonly record: RecordId | undefined;
  }) {
    const { now, rng, host, servers, record } = options;
    this.#deadline = after(now, ms(MEETING_LIMITS.gatherMs));
    const own = servers.own.slice(0, STUN_LIMITS.serversMax);
    const foreignServers = servers.others
      .filter((other, at, all) => all.findIndex((each) => samePath(each, other)) === at)
      .filter((other) => !own.some((one) => samePath(one, other)))
      .slice(0, STUN_LIMITS.serversMax - own.length);
    this.#host = host;
    this.#isAsking = own.length + foreignServers.length > 0;
    this.#requests = new BindingRequests({
      rng,
      servers: own,
      foreignServers,
      ...(record !== undefined && { record }),
    });
  }

  /** Nothing is left to wait for. */
  get isDone(): boolean {
    return this.#isOver || !this.#isAsking || this.#requests.isDone;
  }

  /** The result, once, when it is done. */
  take(): Gathered | undefined {
    if (this.#isTold || !this.isDone) return undefined;
    this.#isTold = true;
    return this.result();
  }

  /** As far as it is known by now. */
  result(): Gathered {
    const answers = this.#requests.answers();
    const mapped = answers.map((answer) => candidateOf(answer.mapped, 'reflexive'));
    const all = new Map<string, Candidate>();
    for (const candidate of [...this.#host, ...mapped]) {
      if (candidate === undefined) continue;
      const key = `${candidate.port} ${candidate.address.join('.')}`;
      if (!all.has(key)) all.set(key, candidate);
    }
    return {
      candidates: withReflexive([...all.values()]),
      varies: this.#requests.mappingVaries,
      isMapped: this.#isAsking ? answers.length > 0 : undefined,
    };
  }

  /** True for a message of STUN that was meant for this question, whatever it said. */
  handleDatagram(now: Micros, path: Path, bytes: Uint8Array): boolean {
    return this.#requests.handleDatagram(now, path, bytes);
  }

  handleTimeout(now: Micros): void {
    this.#requests.handleTimeout(now);
    if (now >= this.#deadline) this.#isOver = true;
  }

  nextTimeout(): Micros {
    return earlier(this.#deadline, this.#requests.nextTimeout());
  }

  pollTransmit(now: Micros, into: Uint8Array): Transmit | undefined {
    return this.#requests.pollTransmit(now, into);
  }
}

/** Whether servers that saw a socket before see it at none of those addresses any more. */
export function isElsewhere(before: Gathered | undefined, now: Gathered): boolean {
  const seen = ({ candidates }: Gathered): readonly string[] =>
    candidates.filter(({ type }) => type === 'reflexive').map(({ address }) => address.join('.'));
  const [former, present] = [before === undefined ? [] : seen(before), seen(now)];
  return (
    former.length > 0 && present.length > 0 && !present.some((address) => former.includes(address))
  );
}

/** At most so many as a record holds; a machine with many addresses keeps its reflexive ones. */
function withReflexive(candidates: readonly Candidate[]): readonly Candidate[] {
  const seen = candidates.filter(({ type }) => type !== 'host');
  const room = Math.max(0, LIMITS.candidatesMax - seen.length);
  const host = candidates.filter(({ type }) => type === 'host').slice(0, room);
  return [...host, ...seen].slice(0, LIMITS.candidatesMax);
}
