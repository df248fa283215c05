// When one talk has a relay: looked for as far as it is needed, kept while it may serve, looked for
// anew when it is lost, and given back. What a relay is, and which server gives it, is relay.ts.

import type { Candidate, RelayTerms } from '../../protocol/control/messages.ts';
import type { Path } from '../../protocol/core.ts';
import type { Rng } from '../../protocol/random.ts';
import { type Micros, NEVER, after, earlier, micros, ms } from '../../protocol/time.ts';
import type { MeetingReport, SocketId } from '../terminal-types.ts';
import { MEETING_LIMITS } from './limits.ts';
import { Relay, type RelayHost, relayServers } from './relay.ts';

interface RelayUseOptions {
  /** Undefined: the server offers none. */
  readonly terms: RelayTerms | undefined;
  /** The owner wants none. */
  readonly isOff: boolean;
  readonly rng: Rng;
}

/** What the use of a relay does through its owner. */
interface RelayUseHost extends RelayHost {
  /** Nothing has answered this terminal over UDP. */
  isUdpSilent(): boolean;
  /** Where this terminal can be reached, as far as that is known. */
  own(): readonly Candidate[];
  /** Hosts of the peer, which may send through it. */
  peers(): readonly string[];
  /** The talk has no other way: a relay that was not found is looked for again. */
  isNeeded(now: Micros): boolean;
  /** Whether anything of the peer's has come after `then`. */
  hasHeard(now: Micros, then: Micros): boolean;
  onReady(now: Micros, socket: SocketId): void;
  onLost(now: Micros): void;
}

/** The relays of one talk, one after another. */
export class RelayUse {
  readonly #options: RelayUseOptions;
  readonly #host: RelayUseHost;
  /** The newest that were told: those of the notice end with its grant. */
  #terms: RelayTerms | undefined;
  #relay: Relay | undefined;
  /** The endpoint of the relay that the owner knows of. */
  #told: SocketId | undefined;
  #openAt: Micros = NEVER;
  #closeAt: Micros = NEVER;
  /** The talk goes another way, as far as that is known. */
  #isSpare = false;
  /** When a way was last looked for. */
  #wantedAt: Micros = micros(0);
  #pauseMs: number = MEETING_LIMITS.restartMsFirst;
  #notBefore: Micros = micros(0);

  constructor(options: RelayUseOptions, host: RelayUseHost) {
    this.#options = options;
    this.#terms = options.terms;
    this.#host = host;
  }

  /** Undefined: none was looked for yet. */
  get relay(): Relay | undefined {
    return this.#relay;
  }

  /** Whether there is a server to ask, and the owner lets it be asked. */
  get isOffered(): boolean {
    const terms = this.#terms;
    return !this.#options.isOff && terms !== undefined && relayServers(terms).length > 0;
  }

  /** Whether datagrams on this path pass through a relay of ours, present or former. */
  carries(path: Path | undefined): boolean {
    return path !== undefined && this.#relay?.carries(path) === true;
  }

  /** Looks for a relay, unless there is one: after a pause that doubles while none helps. */
  soon(now: Micros, waitMs: number): void {
    const state = this.#relay?.state;
    if (!this.isOffered) return;
    this.#wantedAt = now;
    if (state === 'asked' || state === 'ready') return;
    const at = after(now, ms(waitMs));
    this.#openAt = earlier(this.#openAt, at < this.#notBefore ? this.#notBefore : at);
  }

  /** The talk goes that way now. */
  onWay(now: Micros, path: Path, isRelayed: boolean): void {
    this.#pauseMs = MEETING_LIMITS.restartMsFirst;
    if (this.carries(path)) this.#relay?.bind(now, path);
    this.#closeAt = NEVER;
    this.#isSpare = !isRelayed;
    if (isRelayed) return;
    this.#openAt = NEVER;
    if (this.#relay !== undefined) this.#linger(now);
  }

  /** Where the peer is has changed. */
  permit(now: Micros): void {
    this.#relay?.permit(now, this.#host.peers());
  }

  /** Newer credentials, for the next relay. */
  renew(terms: RelayTerms): void {
    this.#terms = terms;
    this.#relay?.renew(terms);
  }

  onOpen(now: Micros, socket: SocketId): void {
    this.#relay?.onOpen(now, socket);
  }

  onFailed(now: Micros, socket: SocketId): void {
    this.#relay?.onFailed(now, socket);
    this.#follow(now);
  }

  handleDatagram(
    now: Micros,
    socket: SocketId,
    wrapped: { readonly from: Path; readonly bytes: Uint8Array },
  ): ReturnType<Relay['handleDatagram']> {
    const heard = this.#relay?.handleDatagram(now, socket, wrapped) ?? 'stray';
    if (typeof heard === 'string') this.#follow(now);
    return heard;
  }

  handleTimeout(now: Micros): void {
    if (this.#relay !== undefined && this.#relay.nextTimeout() <= now) {
      this.#relay.handleTimeout(now);
      this.#follow(now);
    }
    if (this.#openAt <= now) this.#open(now);
    if (this.#closeAt > now) return;
    // What was lost meanwhile and is silent still may need it in a moment.
    if (this.#host.hasHeard(now, this.#wantedAt)) this.leave(now);
    else this.#linger(now);
  }

  nextTimeout(): Micros {
    const own = earlier(this.#openAt, this.#closeAt);
    return earlier(own, this.#relay?.nextTimeout() ?? NEVER);
  }

  /** Nobody needs it any more: the allocation is given back, and none is looked for. */
  leave(now: Micros): void {
    this.#openAt = NEVER;
    this.#closeAt = NEVER;
    this.#told = undefined;
    if (this.#relay?.state !== 'closed') this.#relay?.close(now);
  }

  /** None is looked for any more; one that is ready stays. */
  rest(now: Micros): void {
    if (this.#relay?.state !== 'ready') this.leave(now);
    this.#openAt = NEVER;
    this.#closeAt = NEVER;
  }

  report(): Pick<MeetingReport, 'relay' | 'relaySays' | 'relayAt'> {
    const { isOff } = this.#options;
    const terms = this.#terms;
    const relay = this.#relay;
    if (isOff || terms === undefined) {
      return { relay: isOff ? 'off' : 'none', relaySays: undefined };
    }
    const { server, transport } = relay ?? {};
    const relayAt = server && transport && { server, transport };
    return { relay: stateOf(relay), relaySays: relay?.says, relayAt };
  }

  #open(now: Micros): void {
    this.#openAt = NEVER;
    const { rng } = this.#options;
    const terms = this.#terms;
    if (terms === undefined) return;
    this.#notBefore = after(now, ms(this.#pauseMs));
    this.#pauseMs = Math.min(this.#pauseMs * 2, MEETING_LIMITS.restartMsMax);
    this.#relay ??= new Relay(terms, rng, this.#host);
    this.permit(now);
    this.#relay.begin(now, this.#host.isUdpSilent(), this.#host.own());
    this.#follow(now);
  }

  /** Tells the owner when there is another relay, or none any more. */
  #follow(now: Micros): void {
    const socket = this.#relay?.socket;
    if (this.#relay?.state === 'failed' && this.#host.isNeeded(now)) this.soon(now, this.#pauseMs);
    if (socket === this.#told) return;
    this.#told = socket;
    if (socket === undefined) this.#host.onLost(now);
    else this.#host.onReady(now, socket);
    if (socket !== undefined && this.#isSpare) this.#linger(now);
  }

  #linger(now: Micros): void {
    this.#closeAt = after(now, ms(MEETING_LIMITS.relayLingerMs));
  }
}

/** One that was lost has failed, also while another is looked for. */
function stateOf(relay: Relay | undefined): MeetingReport['relay'] {
  const state = relay?.state ?? 'idle';
  if (state === 'idle' || state === 'closed') return 'unused';
  return state === 'asked' && relay?.says !== undefined ? 'failed' : state;
}
