// What hostile terminals say of their own accord on the control plane (threat model, T2, T4, T6):
// they ask for everybody, in every name, for more than there is; announce addresses that are not
// theirs; speak where they have no right to. Each lie is signed with their own key where a
// signature belongs. What they say in place of what their cores want to is in rogue-answers.ts.

import { signExtension, signRequest } from '../../protocol/consent/statements.ts';
import { encodeCbor } from '../../protocol/control/cbor.ts';
import {
  type Candidate,
  KIND_NUMBERS,
  type Message,
  WIRE_VERSION,
  candidate,
} from '../../protocol/control/messages.ts';
import { exactly, field, list, record, recordId } from '../../protocol/control/schema.ts';
import { topic } from '../../protocol/control/topics.ts';
import {
  type Name,
  type RequestId,
  randomRecordId,
  randomRequestId,
  randomSessionId,
} from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Rng, randomBelow, randomBytes } from '../../protocol/random.ts';
import { after, seconds } from '../../protocol/time.ts';
import type { Happening } from '../happenings.ts';
import { ANY_SERVICE } from '../permissions.ts';
import { openSessions, pick } from '../strikes.ts';
import type { Watcher, World } from '../world.ts';
import { type Deed, later } from './deeds.ts';
import { Overheard } from './overheard.ts';
import { RogueAnswers } from './rogue-answers.ts';
import type { RogueTerminal } from './rogue-terminal.ts';

const WAIT_MS = 1_500;
const MANY = 8;
const CANCEL_SECONDS = 2;
const STARVE_SECONDS = 8;
const CANDIDATES = 300;
const VICTIM: Candidate = { address: Uint8Array.of(198, 51, 100, 7), port: 53, type: 'host' };
/** Addresses that nobody may be sent to: here, nobody, everybody, several, the next router. */
const NO_ADDRESSES: readonly Candidate[] = [
  [127, 0, 0, 1],
  [0, 0, 0, 0],
  [255, 255, 255, 255],
  [224, 0, 0, 251],
  [169, 254, 1, 1],
  [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1],
].map((bytes) => ({ address: Uint8Array.from(bytes), port: 53, type: 'host' }));

/** An `address` message with more than anybody takes. */
const endless = record({
  version: field(0, exactly(WIRE_VERSION)),
  kind: field(1, exactly(KIND_NUMBERS.address)),
  record: field(2, recordId),
  candidates: field(3, list(candidate, CANDIDATES)),
});

/** The words of all rogues of a world. */
export class RogueWords implements Watcher {
  readonly deeds: Readonly<Record<string, Deed>>;
  readonly #world: World;
  readonly #crew: readonly RogueTerminal[];
  readonly #answers: RogueAnswers;
  readonly #published = new Overheard<{ readonly topic: string; readonly bytes: Uint8Array }>();
  /** What a rogue last asked, to be asked again as something else. */
  readonly #requests = new Overheard<RequestId>();

  constructor(world: World, crew: readonly RogueTerminal[]) {
    this.#world = world;
    this.#crew = crew;
    this.#answers = new RogueAnswers(world);
    this.deeds = {
      'asks for somebody': (rng) => this.#call(rng) !== undefined,
      'asks, and cancels at some step': (rng) => this.#cancel(rng),
      'asks many times at once': (rng) => this.#askMany(rng),
      'asks under another name': (rng) => this.#ask(rng, { callerName: this.#anybody(rng).name }),
      'asks for itself': (rng) => this.#ask(rng, { calleeName: this.#rogue(rng)?.name }),
      'asks for a name that it guesses': (rng) =>
        this.#ask(rng, { calleeName: `guess-${randomBelow(rng, 1_000)}` as Name }),
      'asks again by one request for something else': (rng) =>
        this.#ask(rng, { request: this.#requests.recall(rng) }),
      'asks with a false signature': (rng) => this.#ask(rng, { signature: randomBytes(rng, 64) }),
      'wants more of a session': (rng) => this.#extend(rng),
      'reports an end falsely': (rng) => this.#report(rng),
      'registers as somebody else': (rng) => this.#register(rng),
      'answers a question of somebody else': (rng) => this.#answers.intrude(rng, this.#rogue(rng)),
      'announces an address of a victim': (rng) => this.#announce(rng, [VICTIM]),
      'announces addresses that are none': (rng) => this.#announce(rng, NO_ADDRESSES),
      'announces more than anybody takes': (rng) => this.#announceEndlessly(rng),
      'publishes where it may not': (rng) => this.#trespass(rng),
      'starves its talks': (rng) => this.#starve(rng),
      ...this.#answers.plans,
    };
  }

  onHappening(happening: Happening): void {
    if (!this.#world.isFaulty) return;
    if (happening.kind === 'published') {
      const { topic: name, bytes } = happening;
      this.#published.hear({ topic: name, bytes: bytes.slice() });
    } else if (happening.kind === 'sealed' && happening.owner === 'manager') {
      this.#answers.onManagerSays(happening.bytes);
    }
  }

  rewrite(rogue: RogueTerminal, message: Message): readonly Message[] | undefined {
    if (message.kind === 'connect') this.#requests.hear(message.request);
    return this.#answers.rewrite(rogue, message);
  }

  readdress(bytes: Uint8Array): Uint8Array | undefined {
    return this.#answers.readdress(bytes);
  }

  hears(rogue: RogueTerminal, name: string): boolean {
    return this.#answers.hears(rogue, name);
  }

  // --- as a caller -------------------------------------------------------------------------------

  #call(rng: Rng): { readonly rogue: RogueTerminal; readonly call: number } | undefined {
    const rogue = this.#rogue(rng);
    const callee = this.#anybody(rng).name;
    if (rogue === undefined || callee === rogue.name) return undefined;
    const want = randomBelow(rng, 2) === 0 ? {} : { seconds: LIMITS.grantSecondsMax };
    const service = pick(rng, ANY_SERVICE);
    const call = rogue.call({ callee, service, want, waitMs: WAIT_MS, extend: true });
    return call === undefined ? undefined : { rogue, call };
  }

  #cancel(rng: Rng): boolean {
    const asked = this.#call(rng);
    if (asked === undefined) return false;
    const { rogue, call } = asked;
    later(this.#world, randomBelow(rng, seconds(CANCEL_SECONDS)), () =>
      rogue.input({ kind: 'cancel', call }),
    );
    return true;
  }

  #askMany(rng: Rng): boolean {
    let asked = 0;
    while (asked < MANY && this.#ask(rng, {})) asked += 1;
    return asked > 0;
  }

  /** A request of its own making; what is `wrong` replaces what would be right. */
  #ask(
    rng: Rng,
    wrong: {
      readonly callerName?: Name;
      readonly calleeName?: Name | undefined;
      readonly request?: RequestId | undefined;
      readonly signature?: Uint8Array;
    },
  ): boolean {
    const rogue = this.#rogue(rng);
    if (rogue === undefined) return false;
    const request = wrong.request ?? randomRequestId(rng);
    const callerName = wrong.callerName ?? rogue.name;
    const calleeName = wrong.calleeName ?? this.#anybody(rng).name;
    const service = pick(rng, ANY_SERVICE);
    const want = {};
    const asked = { nonce: request, callerId: rogue.id, callerName, calleeName, service, want };
    const signature = wrong.signature ?? signRequest(rogue.identity.signingKey, asked);
    const waitMs = randomBelow(rng, 4) === 0 ? 0 : WAIT_MS;
    const of = { kind: 'connect', request, callerName, calleeName, service, want, waitMs } as const;
    this.#requests.hear(request);
    return rogue.whisper({ ...of, record: randomRecordId(rng), signature });
  }

  /** Its own talks, and sessions of others of which it has heard. */
  #extend(rng: Rng): boolean {
    const rogue = this.#rogue(rng);
    const open = openSessions(this.#world);
    if (rogue === undefined || open.length === 0) return false;
    const own = rogue.status()?.talks.map(({ session }) => session) ?? [];
    const isOwn = own.length > 0 && randomBelow(rng, 2) === 0;
    const session = pick(rng, isOwn ? own : open);
    const request = randomRequestId(rng);
    const want = { seconds: LIMITS.grantSecondsMax, bytes: LIMITS.grantBytesMax };
    const revision = 1 + randomBelow(rng, 3);
    const asked = { request, session, askerId: rogue.id, revision, want };
    const signature = signExtension(rogue.identity.signingKey, asked);
    return rogue.whisper({ kind: 'extend', request, session, revision, want, signature });
  }

  #report(rng: Rng): boolean {
    const rogue = this.#rogue(rng);
    const open = openSessions(this.#world);
    if (rogue === undefined) return false;
    const isNone = open.length === 0 || randomBelow(rng, 4) === 0;
    return rogue.whisper({
      kind: 'endNotice',
      request: randomRequestId(rng),
      session: isNone ? randomSessionId(rng) : pick(rng, open),
      reason: pick(rng, ['done', 'operator', 'quota', 'path-lost'] as const),
      sentBytes: randomBelow(rng, 1_000_000),
      receivedBytes: Number.MAX_SAFE_INTEGER,
      lostBytes: 0,
      wireBytes: randomBelow(rng, 2),
      durationMs: randomBelow(rng, 1_000_000),
    });
  }

  #register(rng: Rng): boolean {
    const name = this.#anybody(rng).name;
    const boot = randomRequestId(rng);
    const request = randomRequestId(rng);
    const rogue = this.#rogue(rng);
    return rogue?.whisper({ kind: 'register', request, name, boot, capabilities: [] }) === true;
  }

  // --- as a neighbour ----------------------------------------------------------------------------

  #announce(rng: Rng, candidates: readonly Candidate[]): boolean {
    return this.#answers.announceNext(this.#rogue(rng), candidates);
  }

  #announceEndlessly(rng: Rng): boolean {
    const rogue = this.#rogue(rng);
    if (rogue?.connection === undefined) return false;
    const candidates = Array.from({ length: CANDIDATES }, () => VICTIM);
    const of = { version: WIRE_VERSION, kind: KIND_NUMBERS.address };
    const bytes = encodeCbor(endless, { ...of, record: randomRecordId(rng), candidates });
    this.#world.broker.publish(rogue.connection, topic('address', rogue.id), bytes);
    return true;
  }

  /** On anybody's topics, also as the manager would: its rights end at its own. */
  #trespass(rng: Rng): boolean {
    const rogue = this.#rogue(rng);
    const said = this.#published.recall(rng);
    if (rogue?.connection === undefined || said === undefined) return false;
    const victim = this.#anybody(rng);
    const places = ['up', 'allow-list', 'trigger', 'call', 'down', 'address'] as const;
    const isManagers = randomBelow(rng, 4) === 0;
    const name = isManagers ? said.topic : topic(pick(rng, places), victim.id);
    this.#world.broker.publish(rogue.connection, name, said.bytes);
    return true;
  }

  #starve(rng: Rng): boolean {
    const rogue = this.#rogue(rng);
    if (rogue === undefined || rogue.sockets.length === 0) return false;
    const until = after(this.#world.now, randomBelow(rng, seconds(STARVE_SECONDS)));
    rogue.host.up?.blackHole(until);
    return true;
  }

  // --- who ---------------------------------------------------------------------------------------

  #rogue(rng: Rng): RogueTerminal | undefined {
    const there = this.#crew.filter(({ isLinked, isSuspended }) => isLinked && !isSuspended);
    return there.length === 0 ? undefined : pick(rng, there);
  }

  #anybody(rng: Rng): { readonly name: Name; readonly id: RogueTerminal['id'] } {
    return pick(rng, this.#world.terminals);
  }
}
