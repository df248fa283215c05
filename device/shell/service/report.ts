// Puts together what `nakodo status` shows of an agent: what its core says, and what only its shell
// knows. `--json` prints it as it is: fields are added, none is renamed.

import { statSync } from 'node:fs';
import type { AllowList } from '../../../protocol/consent/allow-list.ts';
import type { LinkHealth } from '../../../protocol/io/mqtt-link.ts';
import { MS_PER_SECOND } from '../../../protocol/time.ts';
import type { TerminalStatus } from '../../terminal-types.ts';
import type { AgentStatus, BrokerStatus, Rates } from '../agent-types.ts';

/** Of talks that do not fit, this part is left out at a time. */
const DROP_PARTS = 8;

/** What the shell adds. */
interface ShellFacts extends Pick<
  AgentStatus,
  'questions' | 'troubles' | 'membershipExpiresAt' | 'clockOffsetMs' | 'relay' | 'ownStun'
> {
  readonly reading: { readonly list: AllowList | undefined };
  readonly listPath: string;
  readonly ratesOf: (talk: TerminalStatus['talks'][number]) => Rates;
  readonly link: Pick<BrokerStatus, 'url' | 'keepaliveSeconds'> & { readonly health: LinkHealth };
}

/** The whole status; a copy. */
export function agentStatus(status: TerminalStatus, facts: ShellFacts): AgentStatus {
  const { reading, listPath, ratesOf, link, ...rest } = facts;
  return {
    ...status,
    ...rest,
    talks: status.talks.map((talk) => ({ ...talk, rates: ratesOf(talk) })),
    broker: brokerStatus(link),
    list: { entries: reading.list?.entries.length, changedAt: changedAt(listPath) },
  };
}

/**
 * A status that one answer holds: of more talks than fit in `bytesMax` as JSON the newest are
 * shown, and the others counted. A peer that we let in must not make us unable to say so.
 */
export function fitted<T extends { readonly talks: readonly unknown[] }>(
  status: T,
  bytesMax: number,
): T & { readonly talksNotShown: number } {
  const all = status.talks.length;
  let shown = { ...status, talksNotShown: 0 };
  while (shown.talks.length > 0 && Buffer.byteLength(JSON.stringify(shown)) > bytesMax) {
    const talks = shown.talks.slice(Math.ceil(shown.talks.length / DROP_PARTS));
    shown = { ...status, talks, talksNotShown: all - talks.length };
  }
  return shown;
}

function brokerStatus({ url, keepaliveSeconds, health }: ShellFacts['link']): BrokerStatus {
  const isUp = health.state === 'up';
  return {
    url,
    keepaliveSeconds,
    upSeconds: isUp ? health.forMs / MS_PER_SECOND : undefined,
    heardSecondsAgo: isUp ? health.heardMsAgo / MS_PER_SECOND : undefined,
    retrySeconds: health.state === 'waiting' ? health.inMs / MS_PER_SECOND : undefined,
  };
}

/** Unix milliseconds; undefined for a list that is not there. */
function changedAt(path: string): number | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  } catch {
    // What is wrong with it is said by whoever reads it.
    return undefined;
  }
}
