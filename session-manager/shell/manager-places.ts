// Where a manager and its terminals find one another: the URLs that terminals are told, checked
// before anything is opened, and the pin of a broker that runs apart.

import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { EXIT, NakodoError } from '../../protocol/errors.ts';
import type { Log } from '../../protocol/io/log.ts';
import { hostOf, isLoopback } from '../../protocol/io/loopback.ts';
import { brokerAddress } from '../../protocol/io/mqtt-link.ts';
import { readPin } from '../../protocol/io/server-certificate.ts';
import { LIMITS } from '../../protocol/limits.ts';
import { ENROL_PATH } from './enrolment-http.ts';
import { SHELL_LIMITS } from './limits.ts';

/** Where a manager finds its broker. */
export interface BrokerPlace {
  /** The broker as terminals reach it, told at enrolment: `mqtts:`, or `mqtt:` on loopback. */
  readonly url: string;
  /** A stream to a broker in this process, in place of a TCP connection to `url`. */
  readonly connect?: () => Duplex;
  /**
   * The `tls.pin` of a broker that runs apart, for `mqtts:` without `connect`; read anew at every
   * connection, and waited for if it is not there yet.
   */
  readonly pinFile?: string | undefined;
}

/**
 * Checks, before anything is opened, that terminals could reach what they are told. `broker`: one
 * that runs apart; `listen`: the address of the HTTP port; `isTls`: this server has a certificate.
 * @throws NakodoError `plain-not-loopback`, `no-public-url`, `bad-public-url`, `bad-broker-url`,
 *   `no-broker-pin` (exit 2).
 */
export function checkPlaces(places: {
  readonly broker?: BrokerPlace | undefined;
  readonly listen: string;
  readonly publicUrl?: string | undefined;
  readonly isTls: boolean;
}): void {
  const { broker, listen, publicUrl, isTls } = places;
  if (!isTls && !isLoopback(listen)) {
    throw new NakodoError(
      'plain-not-loopback',
      `without TLS the server would be open to the network on ${listen}`,
      'leave --plain out, or listen on 127.0.0.1 or ::1',
      EXIT.usage,
    );
  }
  if (publicUrl === undefined && (listen === '0.0.0.0' || listen === '::')) {
    throw new NakodoError(
      'no-public-url',
      `terminals cannot be told to connect to ${listen}`,
      'add --public-url https://HOST:PORT, as terminals reach this server',
      EXIT.usage,
    );
  }
  if (publicUrl !== undefined) enrolUrlOf(publicUrl, isTls);
  if (broker === undefined) return;
  if (brokerAddress(broker.url).isTls && broker.pinFile === undefined) {
    const next = 'add --broker-pin FILE: tls.pin, in the home of the broker';
    throw new NakodoError('no-broker-pin', 'the key of the broker is not known', next, EXIT.usage);
  }
}

/** The pin of a broker apart, when its file is there; undefined: within this process, or no TLS. */
export async function pinOfBroker({
  broker,
  log,
  signal,
}: {
  readonly broker: BrokerPlace;
  readonly log: Log;
  readonly signal?: AbortSignal | undefined;
}): Promise<Uint8Array | undefined> {
  const { connect, pinFile, url } = broker;
  if (connect !== undefined || pinFile === undefined || !brokerAddress(url).isTls) return undefined;
  for (let look = 0; ; look++) {
    const pin = readPin(pinFile);
    if (pin !== undefined) return pin;
    if (look === 0) log.info('waiting-for-broker-pin', { file: pinFile });
    await delay(SHELL_LIMITS.pinLookMs, undefined, { signal });
  }
}

/** The whole URL that stands in tickets. @throws NakodoError `bad-public-url`. */
export function enrolUrlOf(publicUrl: string, isTls: boolean): string {
  const parsed = URL.canParse(publicUrl) ? new URL(publicUrl) : undefined;
  const isFit = isTls
    ? parsed?.protocol === 'https:' && parsed.hostname !== ''
    : parsed?.protocol === 'http:' && isLoopback(hostOf(parsed));
  const url = parsed && new URL(ENROL_PATH, parsed).href;
  // It stands in every ticket: with nobody's password, and no longer than a ticket can say it.
  const isSayable = parsed?.username === '' && parsed.password === '';
  if (url === undefined || !isFit || !isSayable || url.length > LIMITS.urlMax) {
    throw new NakodoError(
      'bad-public-url',
      `"${publicUrl}" is not a URL that terminals can reach`,
      isTls
        ? 'it looks like https://nakodo.example:8183'
        : 'without TLS it looks like http://127.0.0.1:8183',
      EXIT.usage,
    );
  }
  return url;
}
