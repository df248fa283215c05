// Whether this agent works: what it asks itself before it tells the service manager that it is
// alive. A wrong no restarts a sound agent and cuts its talks, a wrong yes leaves a dead one: each
// rule names what only our own fault can bring about. A broker that is away, a network that is
// gone and a server that refuses us are none of it: a restart mends none of them.

import type { LinkHealth } from '../../../protocol/io/mqtt-link.ts';

/**
 * Milliseconds by which a timer may come late: a Pi writes to a slow card for seconds; a loop that
 * hangs is late for ever.
 */
const LOOP_LATE_MS_MAX = 10_000;
/** Milliseconds by which the core's own deadline may be past: the same loop serves it. */
const CORE_LATE_MS_MAX = 10_000;
/**
 * Keepalives in which a link that counts as up has to have heard something: MQTT.js itself gives it
 * up after one and a half (MQTT 3.1.1 §3.1.2.10).
 */
const SILENT_KEEPALIVES_MAX = 2.5;
/** Milliseconds that one try to connect may take: TCP and TLS, then MQTT, have 10 s each. */
const OPENING_MS_MAX = 60_000;
const MS_PER_SECOND = 1_000;

/** How an agent is, as the self-check sees it. */
export interface AgentHealth {
  /** Milliseconds by which the newest timer came later than it was set for. */
  readonly loopLateMs: number;
  /** Milliseconds by which the core's next deadline is past; 0 if it is to come. */
  readonly coreLateMs: number;
  readonly link: LinkHealth;
}

/** Why this agent does not work, in a sentence; undefined: it does. */
export function selfCheck({ loopLateMs, coreLateMs, link }: AgentHealth): string | undefined {
  if (loopLateMs > LOOP_LATE_MS_MAX) return `the event loop is ${Math.round(loopLateMs)} ms late`;
  if (coreLateMs > CORE_LATE_MS_MAX) return `its core was due ${Math.round(coreLateMs)} ms ago`;
  return linkFault(link);
}

function linkFault(link: LinkHealth): string | undefined {
  switch (link.state) {
    case 'up': {
      const silentMs = link.keepaliveSeconds * MS_PER_SECOND * SILENT_KEEPALIVES_MAX;
      if (link.heardMsAgo <= silentMs) return undefined;
      return `the link counts as up, but nothing was heard for ${Math.round(link.heardMsAgo)} ms`;
    }
    case 'opening':
      if (link.forMs <= OPENING_MS_MAX) return undefined;
      return `it has been connecting for ${Math.round(link.forMs)} ms`;
    case 'waiting':
      if (link.lateMs <= LOOP_LATE_MS_MAX) return undefined;
      return `it should have tried to connect ${Math.round(link.lateMs)} ms ago`;
    case 'down':
      // On purpose: it sleeps between two polls, or was told to stay away.
      return undefined;
  }
}
