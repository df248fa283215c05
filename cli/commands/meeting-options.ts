// The servers' options for terminals behind NATs: the STUN server that shows a terminal its own
// address (RFC 8489), and the relay for those who cannot meet directly (TURN, RFC 8656), which is
// somebody else's program: coturn, say, as in docs/server.md.

import type { Command } from 'commander';
import { addressBytes } from '../../protocol/address.ts';
import type { StunServer } from '../../protocol/control/messages.ts';
import { EXIT, NakodoError, UsageError } from '../../protocol/errors.ts';
import { targetOf } from '../../protocol/io/host-port.ts';
import { LIMITS } from '../../protocol/limits.ts';
import type { StunPorts } from '../../broker/shell/stun-listener.ts';
import type { RelayOptions, RelayPlace } from '../../session-manager/shell/relay-servers.ts';
import { readTurnSecret } from '../turn-secret.ts';
import { listOption, portOption } from './command.ts';

/** What a broker is told of its STUN server. */
export interface StunPortOptions {
  readonly mqttPort?: number;
  readonly stunPort?: number;
  readonly stunOtherPort?: number;
  /** `--no-stun`. */
  readonly stun: boolean;
}

/** What a session manager apart is told of one: `false` for `--no-stun`. */
export interface StunServerOptions {
  readonly stun?: readonly StunServer[] | false;
}

/** What both managers are told of a relay. */
export interface TurnOptions {
  readonly turn?: readonly RelayPlace[];
  readonly turnSecretFile?: string;
}

const STUN_PORT = 3478;
const SECOND = 1;
/** `PORT` or `PORT,PORT`, behind an address and a colon or not. */
const STUN_SERVER = /^(?:(.+):)?(\d{1,5})(?:,(\d{1,5}))?$/;

/** Adds `--stun-port`, `--stun-other-port` and `--no-stun`. */
export const stunPorts = (command: Command): Command =>
  command
    .addOption(
      portOption(
        '--stun-port <n>',
        `UDP, shows terminals their address (default: ${STUN_PORT}; 0, any free one, with ` +
          '--mqtt-port 0)',
      ),
    )
    .addOption(
      portOption('--stun-other-port <n>', 'UDP, shows how their NAT maps (default: the next one)'),
    )
    .option('--no-stun', 'no STUN server: terminals behind NATs may not find one another');

/** Adds `--stun` and `--no-stun`, for a session manager whose broker runs apart. */
export const stunServers = (command: Command): Command =>
  command
    .addOption(
      listOption(
        '--stun <server...>',
        'PORT,PORT of the broker, as it was started, or ADDRESS:PORT of another (default: ' +
          `${STUN_PORT},${STUN_PORT + SECOND})`,
        { parse: parseStunServer, max: LIMITS.meetingServersMax },
      ),
    )
    .option('--no-stun', 'terminals ask no STUN server');

/** Adds `--turn` and `--turn-secret-file`. */
export const turnServers = (command: Command): Command =>
  command
    .addOption(
      listOption('--turn <server...>', 'HOST:PORT of a relay for those who cannot meet directly', {
        parse: parseRelay,
        max: LIMITS.meetingServersMax,
      }),
    )
    .option('--turn-secret-file <file>', 'what its static-auth-secret says; for its owner only');

/** The ports of a STUN server beside the broker; undefined: none is wanted. */
export function stunPortsOf(options: StunPortOptions): StunPorts | undefined {
  const { mqttPort, stun } = options;
  if (!stun) return undefined;
  const port = options.stunPort ?? (mqttPort === 0 ? 0 : STUN_PORT);
  const otherPort = options.stunOtherPort ?? nextPort(port);
  if (port !== otherPort || port === 0) return { port, otherPort };
  const next = 'give another port with --stun-other-port, or leave it out';
  throw new NakodoError('usage', 'a STUN server has two ports', next, EXIT.usage);
}

const nextPort = (port: number): number => {
  if (port === 0) return 0;
  return port < LIMITS.portMax ? port + SECOND : port - SECOND;
};

/** What terminals are told by a manager apart. */
export function stunServersOf({ stun }: StunServerOptions): readonly StunServer[] {
  if (stun === false) return [];
  return stun ?? [{ port: STUN_PORT, otherPort: STUN_PORT + SECOND }];
}

/**
 * The relay, its secret read; undefined: none is named.
 * @throws NakodoError `usage` if a relay has no secret, or a secret no relay; `no-turn-secret`.
 */
export async function relayOf(options: TurnOptions): Promise<RelayOptions | undefined> {
  const { turn: servers, turnSecretFile: file } = options;
  if (servers === undefined && file === undefined) return undefined;
  if (servers === undefined || file === undefined) {
    throw new NakodoError(
      'usage',
      'a relay and the secret that it shares with this server are of no use without one another',
      'give both, --turn HOST:PORT and --turn-secret-file FILE',
      EXIT.usage,
    );
  }
  return { servers, secret: await readTurnSecret(file) };
}

function parseStunServer(text: string): StunServer {
  const [, host, ...ports] = STUN_SERVER.exec(text) ?? [];
  const [port, otherPort] = ports.map((each) => (each === undefined ? undefined : Number(each)));
  const address = host === undefined ? undefined : addressBytes(host.replace(/^\[(.*)\]$/, '$1'));
  const isKnown = host === undefined || address !== undefined;
  if (port === undefined || !isPort(port) || !isPort(otherPort ?? port) || !isKnown) {
    throw new UsageError('bad-stun', 'It looks like 3478,3479 or 192.0.2.1:3478.');
  }
  return { address, port, otherPort };
}

function parseRelay(text: string): RelayPlace {
  const place = targetOf(text);
  if (place !== undefined) return place;
  throw new UsageError('bad-turn', 'It looks like turn.example:3480 or [2001:db8::1]:3480.');
}

const isPort = (port: number): boolean => port >= 1 && port <= LIMITS.portMax;
