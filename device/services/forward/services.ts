// The callee's side of forwarding [S4005]: a talk granted for `port:22` reaches port 22 of this
// terminal and nothing else, one for `listen:8080` has it listen on 127.0.0.1:8080 while it lasts.
// A `[[port]]` of agent.toml leads a port of the name to another machine's.

import { errorCode } from '../../../protocol/errors.ts';
import type { Log } from '../../../protocol/io/log.ts';
import type { Session } from '../../shell/session.ts';
import type { TalkStream } from '../../shell/talk-stream.ts';
import { targetOf } from '../../../protocol/io/host-port.ts';
import type { Service, ServiceContext } from '../service.ts';
import { Connections } from './connections.ts';
import { type Target, dial } from './dialler.ts';
import { serveFlows } from './flows.ts';
import { LISTEN_ANSWER, answerBytes } from './listen-answer.ts';
import { Listener } from './listener.ts';
import { type ForwardScope, scopeOf } from './scope.ts';

const LOOPBACK = '127.0.0.1';

/** `port:N`, `udp:N` and `listen:N`. */
export const forwardService: Service = {
  matches: (name) => scopeOf(name) !== undefined,
  serve(session, context) {
    const scope = scopeOf(session.info.service);
    if (scope?.kind === 'port') servePort(session, scope, context);
    if (scope?.kind === 'udp') serveFlows(session, { host: LOOPBACK, port: scope.port });
    if (scope?.kind === 'listen') serveListen(session, scope, context.log);
  },
};

/** Each stream of the caller's is a connection to the port, or to where the owner leads it. */
function servePort(session: Session, { port }: ForwardScope, context: ServiceContext): void {
  const target = ledTo(context, port);
  const connections = new Connections();
  const told = new Set<string>();
  session.onStream = (stream) => {
    dial(session, stream, target, connections, (code) => {
      // Once a talk: a peer that tries again and again would else fill the log.
      if (!told.has(code)) context.log.info('forward-no-target', { port, code });
      told.add(code);
    });
  };
}

function ledTo({ config }: ServiceContext, port: number): Target {
  const led = config.port.find((entry) => entry.port === port);
  return (led && targetOf(led.to)) ?? { host: LOOPBACK, port };
}

/**
 * Listens while the talk lasts. The caller asks by a stream of its own whether it came to that;
 * each connection is a stream to the caller.
 */
function serveListen(session: Session, { port }: ForwardScope, log: Log): void {
  const connections = new Connections();
  const bound = Listener.bind({ host: LOOPBACK, port }, connections);
  const answer = bound.then(
    (listener) => {
      void session.ended.then(() => listener.close());
      session.established.then(
        () => listener.attach(session),
        () => {},
      );
      return LISTEN_ANSWER.listening;
    },
    (error: unknown) => {
      log.info('forward-cannot-listen', { port, code: errorCode(error) });
      return errorCode(error) === 'port-taken' ? LISTEN_ANSWER.taken : LISTEN_ANSWER.failed;
    },
  );
  session.onStream = (stream) => void tell(stream, answer);
}

async function tell(stream: TalkStream, answer: Promise<number>): Promise<void> {
  stream.resume().end(answerBytes(await answer));
}
