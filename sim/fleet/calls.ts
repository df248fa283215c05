// One call of a fleet, from the moment at which it is due to its outcome, held against the policy:
// what it forbids must not be introduced, what it permits must not be refused, what arrives must be
// what was sent. The callee's side is judged as well: whom it was introduced to.

import type { Agent } from '../../device/agent.ts';
import { callError } from '../../device/shell/call-error.ts';
import type { Session } from '../../device/shell/session.ts';
import type { RefusalReason } from '../../device/terminal-types.ts';
import { errorCode, errorMessage } from '../../protocol/errors.ts';
import { type Rng, randomBelow } from '../../protocol/random.ts';
import { MS_PER_SECOND, wallMs } from '../../protocol/time.ts';
import type { LocalMoment } from '../../protocol/units.ts';
import { answerWithHash, deliver } from './fleet.ts';
import { FLEET_LIMITS } from './limits.ts';
import type { FleetPlan, PlannedCall, Verdict } from './plan.ts';
import { PROFILES } from './profiles.ts';
import type { Tally } from './tally.ts';

/** What all calls of a process have in common. */
interface CallsOptions {
  readonly plan: FleetPlan;
  readonly tally: Tally;
  readonly rng: Rng;
  readonly bytesMax: number;
  /** Milliseconds that a caller waits whom the policy refuses. */
  readonly waitMs: number;
  readonly pollSeconds: number;
}

/** The moment as the machine's clock on the wall shows it. */
function moment(): LocalMoment {
  const now = new Date();
  return { wallMs: wallMs(now.getTime()), offsetMinutes: -now.getTimezoneOffset() };
}

const REASONS: readonly RefusalReason[] = ['denied', 'unknown', 'away', 'limited', 'server'];
/** A refusal says why in words only (the servers run with `--explain`): here they are again. */
const REASON_OF = new Map<string, RefusalReason>(
  REASONS.map((reason) => [callError('refused', { to: '', service: '' }, reason).message, reason]),
);

/** A call under way. */
interface OpenCall {
  readonly call: PlannedCall;
  isIntroduced: boolean;
}

/** Makes calls and judges them. */
export class Calls {
  readonly #options: CallsOptions;
  readonly #open = new Set<OpenCall>();
  #made = 0;

  constructor(options: CallsOptions) {
    this.#options = options;
  }

  /** Calls under way; bounded by whoever makes them. */
  get underWay(): number {
    return this.#open.size;
  }

  /** Those of them whose both ends are always there. */
  get steadyUnderWay(): number {
    let count = 0;
    for (const { call } of this.#open) if (this.#isSteady(call)) count += 1;
    return count;
  }

  /** Waits no longer: what is under way is counted as it is now. `isHalted`: before its time. */
  giveUp(isHalted: boolean): void {
    const { tally } = this.#options;
    for (const { call, isIntroduced } of this.#open) {
      const failed = this.#isSteady(call) ? 'noAnswer' : 'unreached';
      tally.add(isIntroduced ? 'cut' : isHalted ? 'abandoned' : failed);
      tally.addError('unfinished');
    }
    this.#open.clear();
  }

  /** What the policy says now. */
  verdict(call: PlannedCall): Verdict {
    return this.#options.plan.verdict(call, moment());
  }

  /** Whom the policy lets this be between, for messages. */
  label({ caller, callee, service }: PlannedCall): string {
    const { terminals } = this.#options.plan;
    return `${terminals[caller].name} → ${terminals[callee].name} (${service})`;
  }

  /** For each terminal: takes talks that others ask for, and judges who they are. */
  takeIncoming(agent: Agent, callee: number): void {
    const { plan, tally } = this.#options;
    agent.onIncoming((session) => {
      const { peer, service } = session.info;
      const caller = plan.indexOf(peer.name);
      const call = caller === undefined ? undefined : { caller, callee, service };
      // The caller counts a wrong introduction; here only one that it did not hear of.
      if (call === undefined || this.verdict(call) === 'forbidden') {
        const name = plan.terminals[callee].name;
        tally.addFault('wronglyIntroduced', `at ${name}: ${peer.name} came in (${service})`);
      }
      answerWithHash(session);
    });
  }

  /**
   * Makes a call that was due at `dueMs` (of `performance.now()`), and counts what comes of it;
   * never rejects.
   */
  async make(agent: Agent, call: PlannedCall, dueMs: number): Promise<void> {
    const { tally, plan } = this.#options;
    const verdict = this.verdict(call);
    const open: OpenCall = { call, isIntroduced: false };
    this.#open.add(open);
    try {
      const session = await agent.call({
        to: plan.terminals[call.callee].name,
        service: call.service,
        waitMs: this.#waitMs(call, verdict),
        onIntroduced: () => {
          open.isIntroduced = true;
          this.#judgeIntroduction(call, verdict);
        },
      });
      const setUp = this.#isSteady(call) && !this.#sleeps(call) ? tally.setUp : tally.setUpOthers;
      setUp.add(performance.now() - dueMs);
      await this.#deliver(session, open);
    } catch (error) {
      if (!this.#open.has(open)) return;
      if (open.isIntroduced) {
        // Introduced, and then no talk: its code says why.
        tally.add('cut');
        tally.addError(errorCode(error));
      } else this.#judgeFailure(call, verdict, error);
    } finally {
      this.#open.delete(open);
    }
  }

  /** Counts an introduction as right or wrong; `before`: what the policy said at the call. */
  #judgeIntroduction(call: PlannedCall, before: Verdict): void {
    const { tally } = this.#options;
    if (before === 'forbidden' && this.verdict(call) === 'forbidden') {
      tally.addFault('wronglyIntroduced', this.label(call));
    } else tally.add('introduced');
  }

  #judgeFailure(call: PlannedCall, verdict: Verdict, error: unknown): void {
    const { tally } = this.#options;
    const code = errorCode(error);
    const reason = code === 'refused' ? REASON_OF.get(wordsOf(error)) : undefined;
    const isRefused = code === 'refused';
    if (!isRefused || reason === 'server') {
      tally.addError(isRefused ? 'refused: server' : code);
      tally.add(this.#isSteady(call) ? 'noAnswer' : 'unreached');
      return;
    }
    tally.addError(`refused: ${reason ?? 'no reason'}`);
    if (verdict !== 'permitted') tally.add('refused');
    else if (reason === 'limited') tally.add('limited');
    else if (!this.#isSteady(call)) tally.add('unreached');
    else if (reason === 'away' && this.#sleeps(call)) tally.add('overslept');
    else tally.addFault('wronglyRefused', `${this.label(call)}: ${errorMessage(error)}`);
  }

  async #deliver(session: Session, open: OpenCall): Promise<void> {
    const { caller } = open.call;
    const { rng, plan, tally, bytesMax } = this.#options;
    const { bytesMax: profileMax = bytesMax } = PROFILES[plan.terminals[caller].profile];
    const length = 1 + randomBelow(rng, Math.min(bytesMax, profileMax));
    this.#made += 1;
    const delivery = await deliver(session, length, this.#made);
    if (delivery.kind === 'damaged') {
      const { name } = plan.terminals[caller];
      tally.addFault('damaged', `${name} → ${session.info.peer.name}: ${length} bytes`);
    } else if (!this.#open.has(open)) return;
    else if (delivery.kind === 'delivered') {
      tally.add('delivered');
      tally.add('bytes', length);
    } else {
      tally.add('cut');
      tally.addError(delivery.code);
    }
  }

  #waitMs(call: PlannedCall, verdict: Verdict): number {
    const { waitMs, pollSeconds } = this.#options;
    // Who comes and goes is waited for as long as whoever refuses: it may be gone for good.
    if (verdict === 'forbidden' || !this.#isSteady(call)) return waitMs;
    if (!this.#sleeps(call)) return FLEET_LIMITS.permittedWaitMs;
    return Math.max(waitMs, FLEET_LIMITS.pollingWaitMs + pollSeconds * MS_PER_SECOND);
  }

  #isSteady({ caller, callee }: PlannedCall): boolean {
    const { terminals } = this.#options.plan;
    const isSteady = (at: number): boolean => PROFILES[terminals[at].profile].isSteady;
    return isSteady(caller) && isSteady(callee);
  }

  #sleeps({ caller, callee }: PlannedCall): boolean {
    const { terminals } = this.#options.plan;
    return [caller, callee].some((at) => terminals[at].profile === 'polling');
  }
}

/** What stands behind the callee's name. */
function wordsOf(error: unknown): string {
  const message = errorMessage(error);
  return message.slice(message.indexOf(' '));
}
