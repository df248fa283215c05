// What the callee's side of an everyday service is: it takes the talks that were granted for its
// name. The name is the consent scope: the owner's allow-list says `file`, `port:22` or
// `run:temperature` (docs/services.md), the manager's grant repeats it, and a talk serves nothing
// else.

import type { Log } from '../../protocol/io/log.ts';
import type { Home } from '../shell/home.ts';
import type { Session } from '../shell/session.ts';
import type { ServicesConfig } from './config.ts';

/** What a service has to work with. */
export interface ServiceContext {
  readonly home: Home;
  readonly log: Log;
  /** The owner's settings as they were when the talk came. */
  readonly config: ServicesConfig;
}

/** One everyday service, at the callee. */
export interface Service {
  /** Whether it takes talks granted for this name. */
  matches(name: string): boolean;
  /**
   * Takes a talk; says at once who takes its streams (`session.onStream`), and never throws. What
   * it starts ends with the talk.
   */
  serve(session: Session, context: ServiceContext): void;
}
