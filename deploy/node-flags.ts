// What Node is started with for an agent that runs as a service, and what was tried: ADR 0016.

/** Flags of node in the unit's ExecStart; none if empty. */
export const AGENT_NODE_FLAGS: readonly string[] = [];
