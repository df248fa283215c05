// What hostile terminals say in place of what their cores want to (threat model, T4, T6): the next
// answer, request, report or address record is another one, comes late, twice or never. Answers are
// signed again, by the terminal's own key, so that what is wrong is what they say; now and then
// they are not.

import {
  type Request,
  encodeVerdict,
  extensionHash,
  requestHash,
  signVerdict,
} from '../../protocol/consent/statements.ts';
import { decodeMessage, encodeMessage } from '../../protocol/control/codec.ts';
import {
  type Candidate,
  KIND_NUMBERS,
  type Message,
  type MessageOf,
} from '../../protocol/control/messages.ts';
import { topic } from '../../protocol/control/topics.ts';
import { type RequestId, randomRecordId, randomRequestId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { type Rng, randomBelow, randomBytes } from '../../protocol/random.ts';
import { seconds } from '../../protocol/time.ts';
import { KeptMap } from '../invariants/kept-map.ts';
import { kindOf } from '../invariants/spoken.ts';
import { pick } from '../strikes.ts';
import type { World } from '../world.ts';
import { type Deed, did, later } from './deeds.ts';
import { Overheard } from './overheard.ts';
import type { RogueTerminal } from './rogue-terminal.ts';

const KEPT = 256;
const LATE_SECONDS = 8;
const PLANNED_MAX = 4;
/** Calls that a callee without a word does not even hear. */
const DEAF_TO = 3;

type Answer = MessageOf<'allowList'>;
type Question = MessageOf<'ask'> | MessageOf<'askExtend'>;
type Change = (rogue: RogueTerminal, answer: Answer) => readonly Answer[];

const GENEROUS: Answer['entries'] = [
  {
    action: 'allow',
    pattern: '*',
    services: ['*'],
    seconds: LIMITS.grantSecondsMax,
    bytes: LIMITS.grantBytesMax,
    extend: true,
  },
];

/** Lies that wait for their occasion. */
export class RogueAnswers {
  /** Each is planned by a deed and told at the next occasion. */
  readonly plans: Readonly<Record<string, Deed>>;
  readonly #world: World;
  readonly #rng: Rng;
  readonly #changes: Readonly<Record<string, Change>>;
  readonly #planned: string[] = [];
  readonly #candidates: (readonly Candidate[])[] = [];
  /** Questions that the manager put to anybody. */
  readonly #questions = new KeptMap<RequestId, Question>(KEPT);
  readonly #asked = new Overheard<RequestId>();
  #deafTo = 0;
  #reports = 0;

  constructor(world: World) {
    this.#world = world;
    this.#rng = world.rng('hostile/answers');
    this.#changes = {
      'answers twice': (_, answer) => [answer, answer],
      'answers with two words': (rogue, answer) => [
        answer,
        this.#signed(rogue, { ...answer, entries: [], record: undefined }),
      ],
      'answers late': (rogue, answer) => this.#late(rogue, answer),
      'never answers': () => [],
      'grants more than there is': (rogue, answer) => [
        this.#signed(rogue, { ...answer, entries: GENEROUS, approved: true }),
      ],
      'answers with a record of nobody': (rogue, answer) => [
        this.#signed(rogue, { ...answer, record: randomRecordId(this.#rng) }),
      ],
      'answers with another nonce': (rogue, answer) => [
        this.#signed(rogue, { ...answer, nonce: randomRequestId(this.#rng) }),
      ],
      'answers without its signature': (_, answer) => [
        { ...answer, signature: randomBytes(this.#rng, answer.signature.length) },
      ],
      'answers what it did not sign': (_, answer) => [{ ...answer, approved: !answer.approved }],
    };
    const plans = Object.keys(this.#changes).map((name): [string, Deed] => [
      name,
      () => this.#plan(name),
    ]);
    this.plans = {
      ...Object.fromEntries(plans),
      'hears no calls': () => {
        this.#deafTo = DEAF_TO;
        return true;
      },
      'reports other counts': () => {
        this.#reports = Math.min(this.#reports + 1, PLANNED_MAX);
        return true;
      },
    };
  }

  /** Curious by profession: questions to others are sealed, but their number might be guessed. */
  onManagerSays(bytes: Uint8Array): void {
    const kind = kindOf(bytes);
    if (kind !== KIND_NUMBERS.ask && kind !== KIND_NUMBERS.askExtend) return;
    const question = decodeMessage(bytes.slice());
    if (question?.kind !== 'ask' && question?.kind !== 'askExtend') return;
    this.#questions.set(question.request, question);
    this.#asked.hear(question.request);
  }

  /** A yes to a question that was put to somebody else. */
  intrude(rng: Rng, rogue: RogueTerminal | undefined): boolean {
    const request = this.#asked.recall(rng);
    if (rogue === undefined || request === undefined) return false;
    const unsigned: Answer = {
      kind: 'allowList',
      request,
      mode: 'verdict',
      version: 'v1',
      entries: GENEROUS,
      reduced: false,
      record: randomRecordId(rng),
      nonce: randomRequestId(rng),
      approved: true,
      signature: new Uint8Array(64),
    };
    return rogue.whisper(this.#signed(rogue, unsigned), 'allow-list');
  }

  /** The next record that it publishes has these addresses. */
  announceNext(rogue: RogueTerminal | undefined, candidates: readonly Candidate[]): boolean {
    if (rogue === undefined || this.#candidates.length >= PLANNED_MAX) return false;
    this.#candidates.push(candidates);
    return true;
  }

  rewrite(rogue: RogueTerminal, message: Message): readonly Message[] | undefined {
    if (message.kind === 'endNotice' && this.#reports > 0) {
      this.#reports -= 1;
      did(this.#world, 'hostile.terminal', 'other counts are reported');
      const sentBytes = randomBelow(this.#rng, 2 ** 40);
      return [{ ...message, sentBytes, receivedBytes: sentBytes + 1, durationMs: 0 }];
    }
    if (message.kind !== 'allowList' || message.record === undefined) return undefined;
    const name = this.#planned.shift();
    if (name === undefined) return undefined;
    this.#world.mark(`hostile.terminal: ${name}, now`);
    return this.#changes[name](rogue, message);
  }

  /** A record with addresses, that is: presence has none. */
  readdress(bytes: Uint8Array): Uint8Array | undefined {
    if (this.#candidates.length === 0) return undefined;
    const message = decodeMessage(bytes);
    if (message?.kind !== 'address' || message.candidates.length === 0) return undefined;
    const candidates = this.#candidates.shift();
    if (candidates === undefined) return undefined;
    did(this.#world, 'hostile.terminal', 'addresses of others are announced');
    return encodeMessage({ ...message, candidates });
  }

  hears(rogue: RogueTerminal, name: string): boolean {
    if (this.#deafTo === 0 || name !== topic('call', rogue.id)) return true;
    this.#deafTo -= 1;
    return false;
  }

  #plan(name: string): boolean {
    if (this.#planned.length >= PLANNED_MAX) return false;
    this.#planned.push(name);
    return true;
  }

  #late(rogue: RogueTerminal, answer: Answer): readonly Answer[] {
    later(this.#world, randomBelow(this.#rng, seconds(LATE_SECONDS)), () => {
      if (rogue.whisper(answer, 'allow-list') && pick(this.#rng, [true, false]))
        rogue.whisper(answer, 'allow-list');
    });
    return [];
  }

  /** By its own key, over what the question says; nobody's question cannot be signed for. */
  #signed(rogue: RogueTerminal, answer: Answer): Answer {
    const question = this.#questions.get(answer.request);
    if (question === undefined) return answer;
    const { suite, signingKey, id: calleeId, name: calleeName } = rogue.identity;
    const { callerId, callerName, service, want } = question;
    const asked = (nonce: RequestId): Request => {
      return { nonce, callerId, callerName, calleeName, service, want };
    };
    const request =
      question.kind === 'ask'
        ? requestHash(suite, asked(question.nonce))
        : extensionHash(suite, question);
    const verdict = encodeVerdict(suite, answer, { calleeId, callerId, request });
    return { ...answer, signature: signVerdict(signingKey, verdict) };
  }
}
