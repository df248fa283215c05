// A session manager in an attacker's hands, with two accomplices who are terminals of their own and
// pose as the caller and as the callee. It signs whatever it likes, has everybody's sealed channel,
// remembers every request, answer and notice, and arranges introductions step by step so that a lie
// can be told at each of them. What it cannot do is sign for a terminal, or agree for its key.

import type { AllowList } from '../../protocol/consent/allow-list.ts';
import { encodeVerdict, requestHash } from '../../protocol/consent/statements.ts';
import type { Candidate, MessageOf, PublicKeys, Terms } from '../../protocol/control/messages.ts';
import type { SigningKey } from '../../protocol/crypto.ts';
import { type Grant, encodeGrant } from '../../protocol/grant.ts';
import { signed } from '../../protocol/identity/signed.ts';
import type { Name, RequestId } from '../../protocol/ids.ts';
import { randomRequestId, randomSessionId } from '../../protocol/ids.ts';
import { nodeSuite } from '../../protocol/io/node-crypto.ts';
import { randomBytes, seededRng } from '../../protocol/random.ts';
import { askOf } from './manager-consent.ts';
import { sentOf, talkEvents } from './talking.ts';
import type { Node } from './world-types.ts';
import { World } from './world.ts';

const CALLER = 'TERM1';
const CALLEE = 'TERM3';
const WAIT_MS = 1_000;
/** Handshakes that lead nowhere are given up by then. */
const IDLE_SECONDS = 200;
/** What the caller wants, and the most that the callee allows. */
export const TERMS = { seconds: 600, bytes: 10_000 } as const satisfies Terms;

/** How the two terminals know each other before the lies begin. */
export type Acquaintance = 'pinned' | 'stated' | 'strangers';

/** What one end is told; a lie changes it before it is signed and leaves. */
export interface Telling {
  to: Node;
  request: RequestId;
  grant: Grant;
  signer: SigningKey;
  key: Uint8Array;
  peerKeys: PublicKeys;
  candidates: readonly Candidate[];
  verdict: Uint8Array | undefined;
  verdictSignature: Uint8Array | undefined;
}

/** One introduction as the manager arranged it; what is kept of an honest one can be replayed. */
export interface Arranged {
  readonly ask: MessageOf<'ask'>;
  readonly caller: Telling;
  readonly callee: Telling;
}

/** What is done differently from an honest introduction. */
export interface Lie {
  readonly name: string;
  /** An accomplice under the name of the caller, or of the callee, takes part in its place. */
  readonly accomplice?: 'caller' | 'callee';
  /** Changes what the callee is asked; undefined: it is not asked. */
  readonly ask?: (ask: MessageOf<'ask'>, scene: Scene) => MessageOf<'ask'> | undefined;
  /** After the answer, before the notices. */
  readonly between?: (scene: Scene) => void;
  /** Changes what the two are told. */
  readonly tell?: (arranged: Arranged, scene: Scene) => void;
}

/** Two honest terminals, two accomplices, and a manager that may lie. */
export class Scene {
  readonly world = new World();
  readonly rng: ReturnType<typeof seededRng>;
  readonly caller: Node;
  readonly callee: Node;
  /** Under the callee's name, with keys of its own. */
  readonly falseCallee: Node;
  /** Under the caller's name, with keys of its own. */
  readonly falseCaller: Node;
  /** An honest introduction of the two that is over. */
  readonly old: Arranged;
  /** What the callee's owner wrote. */
  readonly list: AllowList;
  #calls = 0;

  constructor(seed: number, acquaintance: Acquaintance) {
    this.rng = seededRng(seed);
    const { world } = this;
    world.answers.connect = false;
    const entry = { action: 'allow', pattern: CALLER, ...TERMS } as const;
    this.caller = world.add(CALLER);
    this.callee = world.add(CALLEE, { list: [entry] });
    this.falseCallee = world.add(CALLEE, { list: [{ action: 'allow', pattern: '*' }] });
    this.falseCaller = world.add(CALLER);
    this.old = this.introduce();
    if (!this.isTalking) throw new Error('an honest introduction leads to a talk');
    this.#hangUp();
    const id = acquaintance === 'stated' ? this.caller.id : undefined;
    this.list = { version: 'v2', mode: 'verdict', entries: [{ ...entry, id }] };
    this.callee.list = this.list;
    if (acquaintance === 'pinned') return;
    for (const node of [this.caller, this.callee]) {
      node.pins.clear();
      this.reboot(node);
    }
    if (acquaintance === 'stated') this.caller.terminal.trust(CALLEE as Name, this.callee.id);
    this.world.settle();
  }

  /** How often a talk was established, at anybody's. */
  get established(): number {
    return this.world.nodes.reduce((sum, node) => sum + talkEvents(node, 'established').length, 0);
  }

  get isTalking(): boolean {
    return this.world.nodes.some((node) => node.terminal.status(this.world.now).talks.length > 0);
  }

  /** Sockets of the two honest terminals. */
  get sockets(): number {
    return this.caller.sockets.size + this.callee.sockets.size;
  }

  /** Ends the process of a terminal and starts it anew, with what lies on its disk. */
  reboot(node: Node): void {
    this.world.restart(node);
    this.world.link(node, true);
    this.world.settle();
  }

  /** Arranges an introduction, honestly but for the lie. */
  introduce(lie?: Lie): Arranged {
    const { world } = this;
    const caller = lie?.accomplice === 'caller' ? this.falseCaller : this.caller;
    const callee = lie?.accomplice === 'callee' ? this.falseCallee : this.callee;
    const call = (this.#calls += 1);
    world.call(caller, CALLEE, { call, want: TERMS, waitMs: WAIT_MS });
    const connect = sentOf(caller, 'connect').at(-1);
    if (connect === undefined) throw new Error('a caller asks');
    const ask = askOf(caller, connect, randomRequestId(this.rng));
    const asked = lie?.ask === undefined ? ask : lie.ask(ask, this);
    const before = sentOf(callee, 'allowList').length;
    if (asked !== undefined) world.hand(callee, asked);
    world.settle();
    const answer = sentOf(callee, 'allowList').slice(before).at(-1);
    lie?.between?.(this);
    const hash = requestHash(nodeSuite, { ...(asked ?? ask), calleeName: callee.name });
    const arranged = { ask, ...this.#tellings(caller, callee, connect, answer, hash) };
    lie?.tell?.(arranged, this);
    const order = [arranged.callee, arranged.caller];
    for (const telling of this.rng.next() % 2 === 0 ? order : order.toReversed())
      this.#tell(telling);
    world.run(1);
    return arranged;
  }

  /** Lets time pass until both honest terminals have given up whatever they were made to begin. */
  comeToRest(): boolean {
    return this.world.run(IDLE_SECONDS, () => this.sockets === 0);
  }

  /** What an honest manager would tell; a callee that did not answer is made up for. */
  #tellings(
    caller: Node,
    callee: Node,
    connect: MessageOf<'connect'>,
    answer: MessageOf<'allowList'> | undefined,
    request: Uint8Array,
  ): { caller: Telling; callee: Telling } {
    const context = { calleeId: callee.id, callerId: caller.id, request };
    const verdict =
      answer === undefined ? randomBytes(this.rng, 100) : encodeVerdict(nodeSuite, answer, context);
    const grant: Grant = {
      version: 1,
      session: randomSessionId(this.rng),
      callerId: caller.id,
      calleeId: callee.id,
      callerName: caller.name,
      calleeName: callee.name,
      service: connect.service,
      ...TERMS,
      verdict: nodeSuite.blake2s(verdict),
    };
    const shared = { grant, signer: this.world.manager, key: randomBytes(this.rng, 32) };
    return {
      caller: {
        ...shared,
        to: caller,
        request: connect.request,
        peerKeys: callee.keys,
        candidates: candidatesOf(callee),
        verdict,
        verdictSignature: answer?.signature ?? randomBytes(this.rng, 64),
      },
      callee: {
        ...shared,
        to: callee,
        request: answer?.nonce ?? randomRequestId(this.rng),
        peerKeys: caller.keys,
        candidates: candidatesOf(caller),
        verdict: undefined,
        verdictSignature: undefined,
      },
    };
  }

  #tell({ to, grant, signer, candidates, ...rest }: Telling): void {
    const encoded = encodeGrant(grant);
    this.world.tell(to, 'down', {
      kind: 'addressNotice',
      grant: encoded,
      signature: signed(signer, 'grant', encoded),
      peerCandidates: candidates,
      ...rest,
    });
    this.world.settle();
  }

  #hangUp(): void {
    const { caller, world } = this;
    const { session } = this.old.caller.grant;
    caller.terminal.handle(world.now, { kind: 'end', session, reason: 'done' });
    if (!this.comeToRest()) throw new Error('a talk comes to its end');
  }
}

/** Where a terminal was last reachable. */
export function candidatesOf(node: Node): readonly Candidate[] {
  return sentOf(node, 'address').at(-1)?.candidates ?? [];
}
