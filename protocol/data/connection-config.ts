// What the owner of a connection may say about it, looked at once: everything that is derived from
// it (windows, sizes of datagrams, positions in streams) is written to the wire as whole numbers.

import { UsageError } from '../errors.ts';
import type { ConnectionConfig } from './connection-types.ts';
import { CONNECTION_DEFAULTS, DATA_LIMITS } from './limits.ts';

const COUNTS = [
  'windowBytes',
  'windowBytesMax',
  'streamWindowBytes',
  'sendBufferBytes',
  'sendBufferBytesMax',
  'idleTimeoutMs',
  'keepAliveMs',
  'handshakeTimeoutMs',
] as const satisfies readonly (keyof ConnectionConfig)[];

/**
 * The defaults with what the owner wants otherwise. Sizes and times are whole numbers above 0.
 * @throws UsageError `connection-config`; `datagram-bytes` for a size outside DATA_LIMITS.
 */
export function connectionConfig(wanted: Partial<ConnectionConfig> = {}): ConnectionConfig {
  const config: ConnectionConfig = { ...CONNECTION_DEFAULTS, ...wanted };
  const { datagramBytesMin, datagramBytesMax } = DATA_LIMITS;
  const { datagramBytes, datagramBytesProbes } = config;
  if (!isWhole(datagramBytes, datagramBytesMin, datagramBytesMax)) {
    const range = `a whole number from ${datagramBytesMin} to ${datagramBytesMax}`;
    throw new UsageError('datagram-bytes', `datagramBytes must be ${range}, got ${datagramBytes}`);
  }
  for (const bytes of datagramBytesProbes) check('datagramBytesProbes', bytes);
  for (const name of COUNTS) check(name, config[name]);
  return config;
}

function check(name: string, value: number): void {
  if (isWhole(value, 1, Number.MAX_SAFE_INTEGER)) return;
  const range = 'a whole number above 0';
  throw new UsageError('connection-config', `${name} must be ${range}, got ${value}`);
}

const isWhole = (value: number, least: number, most: number): boolean =>
  Number.isInteger(value) && value >= least && value <= most;
