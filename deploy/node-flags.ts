// What Node is started with for an agent that runs as a service: the unit, the package and the
// benches take it from here. Why this and nothing else: ADR 0016.

/** Flags of node in the unit's ExecStart: 10 MB less after a transfer, nothing while it waits. */
export const AGENT_NODE_FLAGS: readonly string[] = ['--max-semi-space-size=1'];
