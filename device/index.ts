// The library: what `import … from 'nakodo'` gives, and the only file that passes on what others
// declare. An application needs one door whose names stay when files move; inside the house
// everybody imports from where a thing is made. Documented in docs/sessions.md.

export { Agent } from './agent.ts';
export type { AgentOptions, AgentStatus, AgentTroubles, Wish } from './shell/agent-types.ts';
export type { Session } from './shell/session.ts';
export type { SessionEnd, SessionEvents, SessionInfo } from './shell/session-types.ts';
export type { SessionState } from './shell/session-types.ts';
export type { Meeting } from './shell/way.ts';
export type { PathClass, RelayPolicy } from '../protocol/address.ts';
export type { TalkStream } from './shell/talk-stream.ts';
export type { Counts, EndReason } from '../protocol/ends.ts';
export { EXIT, NakodoError } from '../protocol/errors.ts';
export { type Log, createLog } from '../protocol/io/log.ts';
