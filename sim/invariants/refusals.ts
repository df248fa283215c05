// Invariants of a refusal: it tells nothing, and it does not wake anybody twice. Whether a name is
// unknown, its owner said no, sleeps or is away: the same bytes but for the request, and not before
// the caller's own wait is over. One call puts one question; a question is put again only to a new
// channel or a new broker. Vain questions keep to the caller's rate, open ones to the callee's
// budget (design §4). Judged from what the manager seals and opens.

import type { MessageOf } from '../../protocol/control/messages.ts';
import { parseTopic } from '../../protocol/control/topics.ts';
import type { DeviceId, RequestId } from '../../protocol/ids.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { MICROS_PER_SECOND, type Micros, ms, seconds } from '../../protocol/time.ts';
import { RATE_DEFAULTS } from '../../session-manager/limits.ts';
import type { Happening } from '../happenings.ts';
import type { Watcher, World } from '../world.ts';
import { isBusHonest } from './bus.ts';
import { KeptMap } from './kept-map.ts';
import type { Word, WordHearer } from './spoken.ts';

const KEPT = 20_000;
/** A manager's clock may run fast: by the drift of a seed's clocks, and a little for rounding. */
const DRIFT_MOST = 0.001;
const ROUNDING_MICROS = ms(3);
const MANAGER = 'manager';
const TWISTED = 'several';
/** How long a link or a channel takes, at most, until all of it is there. */
const NEW_MICROS = seconds(30);

interface Connect {
  readonly caller: string;
  readonly callee: string;
  readonly waitMs: number;
  readonly at: Micros;
  question: RequestId | undefined;
  isRefused: boolean;
}

interface Question {
  readonly callee: DeviceId;
  readonly caller: DeviceId;
  readonly isFriend: boolean;
  readonly until: number;
  /** How often it was put, and how often that may be. */
  times: number;
  /** Channels of the callee, and links of the manager, when it was put first. */
  readonly reasonsBefore: number;
}

/** Counts whom a caller wakes, and how soon it hears of it. */
export class Refusals implements Watcher, WordHearer {
  readonly #world: World;
  /** Nothing but the broker's core makes two of one message. */
  readonly #isOnce: boolean;
  /** By how much a refusal may come after its time. */
  readonly #lateMicros: number;
  /** Of this boot of the manager, by caller and its own request: callers choose those. */
  #connects = new KeptMap<string, Connect>(KEPT);
  #byRequest = new KeptMap<RequestId, Connect>(KEPT);
  #questions = new KeptMap<RequestId, Question>(KEPT);
  #open = new Map<DeviceId, Map<RequestId, Question>>();
  /** Questions that led to nothing, by caller and callee, since the manager started. */
  #vain = new Map<string, number>();
  #startedAt = 0;
  /** What rogues call by each request. */
  readonly #ofRogues = new KeptMap<RequestId, string>(KEPT);
  readonly #friends = new Set<string>();
  /** New channels of each terminal, polls of those that sleep, new links of the manager. */
  readonly #reasons = new Map<string, { times: number; last: Micros }>();
  /** Calls that a terminal was handed in this boot of the broker, and until when. */
  #handed = new KeptMap<string, number>(KEPT);
  #refusalBytes: number | undefined;

  constructor(world: World) {
    this.#world = world;
    const { 'clock.late': late, 'manager.slow': slow } = world.options;
    this.#lateMicros = ms(late + 3 * slow) + seconds(1);
    this.#isOnce = world.options['mqtt.duplicate'] === 0 && isBusHonest(world.options);
  }

  onHappening(happening: Happening): void {
    switch (happening.kind) {
      case 'managerStarted':
        this.#connects = new KeptMap(KEPT);
        this.#byRequest = new KeptMap(KEPT);
        this.#questions = new KeptMap(KEPT);
        this.#open = new Map();
        this.#vain = new Map();
        this.#startedAt = this.#world.now;
        return;
      case 'brokerStarted':
        this.#handed = new KeptMap(KEPT);
        return;
      case 'operatorRevoke':
        return this.#onRevoke(happening.terminal.id);
      case 'loggedIn':
        // Whoever sleeps between polls is asked again at each what it has not answered.
        if (happening.party === 'manager') this.#onReason(MANAGER);
        else if (happening.party.pollSeconds !== undefined) this.#onReason(happening.party.id);
        return;
      case 'logged': {
        const { entry } = happening;
        if (entry.kind !== 'introduced') return;
        const pair = `${entry.callerId}/${entry.calleeId}`;
        this.#friends.add(pair);
        this.#vain.set(pair, (this.#vain.get(pair) ?? 0) - 1);
        return;
      }
      default:
        return;
    }
  }

  onWord({ how, party, machine, topic, message, size }: Word): void {
    if (how === 'sealed' && message.kind === 'connect' && this.#world.hostile.has(party))
      return this.#onRogue(party, message);
    if (how === 'opened' && party === 'manager') {
      if (message.kind === 'connect') this.#onConnect(message);
      if (message.kind === 'allowList') this.#close(message.request);
    } else if (how === 'sealed' && party === 'manager') {
      if (message.kind === 'ask') this.#onAsk(message);
      if (message.kind === 'refusal') this.#onRefusal(message, size);
    } else if (how === 'published' && message.kind === 'welcome' && topic !== undefined) {
      const place = parseTopic(topic);
      if (place?.of === 'down') this.#onReason(place.device);
    } else if (how === 'delivered' && message.kind === 'call' && machine !== undefined)
      this.#onHanded(machine.id, message);
  }

  #onConnect(message: MessageOf<'connect'>): void {
    const { request, callerName, calleeName, waitMs } = message;
    const key = keyOf(callerName, request);
    if (this.#connects.has(key)) return;
    const at = this.#world.now;
    const parties = { caller: callerName, callee: calleeName };
    const connect = { ...parties, waitMs, at, question: undefined, isRefused: false };
    this.#connects.set(key, connect);
    // A hostile one may take another's request for its own.
    if (!this.#world.hostile.has(callerName)) this.#byRequest.set(request, connect);
  }

  /** Whoever uses one request for two calls may be asked and refused for either. */
  #onRogue(rogue: string, { request, calleeName, service }: MessageOf<'connect'>): void {
    const call = `${rogue} → ${calleeName} (${service})`;
    const known = this.#ofRogues.get(request);
    this.#ofRogues.set(request, known === undefined || known === call ? call : TWISTED);
  }

  /** The manager puts a question to a callee. */
  #onAsk(message: MessageOf<'ask'>): void {
    const { request, nonce, callerId: caller, callerName, waitMs } = message;
    if (this.#ofRogues.get(nonce) === TWISTED) return;
    const connect = this.#connects.get(keyOf(callerName, nonce));
    const callee = connect && this.#world.terminal(connect.callee)?.id;
    if (connect === undefined || callee === undefined)
      return this.#fail('the manager asks somebody what nobody asked it');
    const label = `${connect.caller} → ${connect.callee}`;
    const known = this.#questions.get(request);
    if (known !== undefined) {
      known.times += 1;
      if (known.times > 1 + this.#reasonsOf(callee) - known.reasonsBefore)
        this.#fail(`${label}: asked ${known.times} times by one call`);
      return;
    }
    if (connect.question !== undefined) return this.#fail(`${label}: one call, two questions`);
    connect.question = request;
    const pair = `${caller}/${callee}`;
    const question: Question = {
      callee,
      caller,
      isFriend: this.#friends.has(pair),
      until: this.#world.now + ms(waitMs) * (1 - DRIFT_MOST) - ROUNDING_MICROS,
      times: 1,
      reasonsBefore: this.#reasonsOf(callee) - this.#pending(callee),
    };
    this.#questions.set(request, question);
    this.#countVain(label, pair);
    this.#countOpen(label, request, question);
  }

  /** Its questions are open no more: others get their turn. */
  #onRevoke(caller: DeviceId): void {
    for (const open of this.#open.values())
      for (const [request, question] of open) if (question.caller === caller) open.delete(request);
  }

  #onReason(of: string): void {
    const reason = this.#reasons.get(of) ?? { times: 0, last: this.#world.now };
    reason.times += 1;
    reason.last = this.#world.now;
    this.#reasons.set(of, reason);
  }

  #reasonsOf(callee: DeviceId): number {
    return (this.#reasons.get(MANAGER)?.times ?? 0) + (this.#reasons.get(callee)?.times ?? 0);
  }

  /** A link or a channel that is being made when a question is put makes it be put again. */
  #pending(callee: DeviceId): number {
    const isNew = (of: string): boolean =>
      this.#world.now <= (this.#reasons.get(of)?.last ?? -Infinity) + NEW_MICROS;
    return Number(isNew(MANAGER)) + Number(isNew(callee));
  }

  /** A caller that asks in vain keeps to its rate. */
  #countVain(label: string, pair: string): void {
    const vain = (this.#vain.get(pair) ?? 0) + 1;
    this.#vain.set(pair, vain);
    const { burst, perSecond } = RATE_DEFAULTS.perName;
    const lasted = (this.#world.now - this.#startedAt) / MICROS_PER_SECOND;
    // What is open may still be accepted; a call that is costs nothing.
    const most = burst + perSecond * lasted * (1 + DRIFT_MOST) + LIMITS.asksPerCalleeMax;
    if (vain > most) this.#fail(`${label}: asked ${vain} times in vain within ${lasted} s`);
  }

  /** A callee has so many open questions, and those of strangers leave room for friends. */
  #countOpen(label: string, request: RequestId, question: Question): void {
    const { now } = this.#world;
    const open = this.#open.get(question.callee) ?? new Map<RequestId, Question>();
    this.#open.set(question.callee, open.set(request, question));
    if (open.size <= LIMITS.asksPerStrangerMax) return;
    let strangers = 0;
    let own = 0;
    for (const [other, { until, isFriend, caller }] of open) {
      if (until <= now) open.delete(other);
      else if (!isFriend) {
        strangers += 1;
        if (caller === question.caller) own += 1;
      }
    }
    if (open.size > LIMITS.asksPerCalleeMax) this.#fail(`${label}: ${open.size} open questions`);
    if (question.isFriend) return;
    if (strangers > LIMITS.asksPerCalleeMax / 2)
      this.#fail(`${label}: strangers have ${strangers} open questions`);
    if (own > LIMITS.asksPerStrangerMax) this.#fail(`${label}: one stranger has ${own} open`);
  }

  #close(request: RequestId): void {
    const question = this.#questions.get(request);
    if (question !== undefined) this.#open.get(question.callee)?.delete(request);
  }

  /** A refusal leaves when the caller's wait is over, whatever the reason. */
  #onRefusal({ request, code }: MessageOf<'refusal'>, size: number): void {
    const connect = this.#byRequest.get(request);
    if (connect === undefined || this.#ofRogues.get(request) === TWISTED) return;
    const { caller, callee, waitMs, at } = connect;
    const label = `${caller} → ${callee}`;
    if (code !== 'refused') this.#fail(`${label}: refused as ${code}`);
    const soonest = at + ms(waitMs) * (1 - DRIFT_MOST) - ROUNDING_MICROS;
    if (this.#world.now < soonest)
      this.#fail(`${label}: refused ${Math.round((soonest - this.#world.now) / ms(1))} ms early`);
    // Said again it may be later; the first is as late as timers, and a disk that fails, make it.
    if (
      !connect.isRefused &&
      this.#world.now > at + ms(waitMs) * (1 + DRIFT_MOST) + this.#lateMicros
    )
      this.#fail(
        `${label}: refused ${Math.round((this.#world.now - at) / ms(1))} ms after its call`,
      );
    connect.isRefused = true;
    this.#refusalBytes ??= size;
    if (size !== this.#refusalBytes)
      this.#fail(`${label}: a refusal of ${size} bytes beside others of ${this.#refusalBytes}`);
    this.#world.mark('refused');
  }

  /** A broker hands a call over once, until its deadline by the broker's own clock. */
  #onHanded(device: DeviceId, { request, deadlineMs }: MessageOf<'call'>): void {
    const key = `${device}/${request}`;
    const { now } = this.#world;
    const isKnown = now < (this.#handed.get(key) ?? -Infinity);
    if (isKnown && this.#isOnce) this.#fail(`${device} is handed one call twice`);
    if (!isKnown) this.#handed.set(key, now + ms(deadlineMs) * (1 - DRIFT_MOST) - ROUNDING_MICROS);
  }

  #fail(says: string): void {
    this.#world.violate('refusals', says);
  }
}

const keyOf = (caller: string, request: RequestId): string => `${caller}/${request}`;
