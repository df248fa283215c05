// The doctor looks at the machine: Node, the disk under the home, memory, UDP. Of UDP only what can
// be seen from here is called fine: that a datagram leaves and arrives on this machine, and what
// STUN servers see of one; whether a peer's comes through shows only a talk with it.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { statfs, unlink, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { agentAtStart, relaySource } from '../../device/services/agent-settings.ts';
import { configReader } from '../../device/services/config.ts';
import { pathWords } from '../../device/shell/way.ts';
import type { Path } from '../../protocol/core.ts';
import { isLoopback } from '../../protocol/io/loopback.ts';
import { brokerAddress } from '../../protocol/io/mqtt-link.ts';
import { NakodoError, errorCode, errorMessage } from '../../protocol/errors.ts';
import { fileError } from '../../protocol/io/files.ts';
import { formatSize } from '../../protocol/units.ts';
import { shellWord } from '../home.ts';
import { CommandTalk } from '../talk.ts';
import { openWayWords, relayPolicyWords } from '../way-words.ts';
import {
  type Check,
  type Finding,
  type Patient,
  fail,
  failed,
  ok,
  unchecked,
  warn,
} from './finding.ts';
import { askStun, natFinding, stunPaths } from './nat-check.ts';

/** Of package.json, `engines`. */
const NODE_MIN = [20, 19] as const;
/** Bytes of disk under which records of talks may fail, and under which files will. */
const DISK_BYTES_MIN = 1_000_000;
const DISK_BYTES_LOW = 100_000_000;
/** Bytes of memory that an agent under load takes beside what it has. */
const MEMORY_BYTES_LOW = 64_000_000;
const BYTES_PER_KIB = 1_024;
/** Milliseconds for a datagram to come back on this machine. */
const ECHO_MS_MAX = 1_000;
/** Where our server's STUN server is, unless its operator chose otherwise (RFC 8489 §18.6). */
const USUAL_STUN_PORTS = [3_478, 3_479] as const;
/** The service that a peer is called for: whoever lets us ping it lets us look at the path. */
const PEER_SERVICE = 'ping';

/** In the order of the report. */
export const MACHINE_CHECKS: readonly Check[] = [
  { name: 'udp', look: lookAtUdp },
  { name: 'relay', look: lookAtRelay },
  { name: 'peer', look: lookAtPeer },
  { name: 'disk', look: lookAtDisk },
  { name: 'memory', look: lookAtMemory },
  { name: 'node', look: lookAtNode },
];

async function lookAtUdp(patient: Patient): Promise<Finding> {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outer = all.find((address) => !address.internal && address.family === 'IPv4');
  const host = outer?.address ?? '127.0.0.1';
  try {
    await echo(host);
  } catch (error) {
    const says = `a datagram to our own address does not arrive: ${errorMessage(error)}`;
    return fail(says, 'let UDP through the firewall of this machine: sudo nft list ruleset');
  }
  const where = outer === undefined ? 'only on loopback: no network is up' : 'on this machine';
  const local = `datagrams leave and arrive ${where}`;
  const { servers, isCertain } = await stunServers(patient);
  if (servers.length === 0) return ok(`${local}; no STUN server is known`);
  const own = all.map(({ address }) => address);
  const finding = natFinding(await askStun(servers, bindOf(patient)), { own, isCertain });
  return finding.verdict === 'ok' ? { ...finding, says: `${local}; ${finding.says}` } : finding;
}

/** Whom the agent would ask; without it, whom it most likely would: beside the broker. */
async function stunServers({ status, brokerUrl, configPath }: Patient): Promise<{
  readonly servers: readonly Path[];
  readonly isCertain: boolean;
}> {
  const settings = configReader(configPath)();
  const own = 'config' in settings ? (settings.config.agent.stun ?? []) : [];
  const owners = await stunPaths(status?.ownStun ?? own);
  if (status?.stun !== undefined) {
    return { servers: [...status.stun, ...owners], isCertain: true };
  }
  const host = brokerUrl === undefined ? undefined : brokerAddress(brokerUrl).host;
  // On this machine there is no NAT to be seen.
  const isNear = host === undefined || isLoopback(host);
  const guessed = isNear ? [] : USUAL_STUN_PORTS.map((port) => pathWords({ host, port }));
  const servers = [...owners, ...(await stunPaths(guessed))];
  return { servers, isCertain: owners.length > 0 };
}

/** The address that the agent binds to, if its owner chose one. */
function bindOf({ configPath }: Patient): string | undefined {
  const read = configReader(configPath)();
  return 'config' in read ? read.config.agent.address : undefined;
}

/** One datagram from one socket to another, at an address of ours. */
async function echo(host: string): Promise<void> {
  const [from, to] = [createSocket('udp4'), createSocket('udp4')];
  try {
    const signal = AbortSignal.timeout(ECHO_MS_MAX);
    for (const socket of [from, to]) {
      socket.bind({ address: host, port: 0, exclusive: true });
      await once(socket, 'listening', { signal });
    }
    const arrived = once(to, 'message', { signal });
    from.send('nakodo', to.address().port, host);
    await arrived;
  } catch (error) {
    throw errorCode(error) === 'ABORT_ERR' ? new Error('nothing came') : error;
  } finally {
    from.close();
    to.close();
  }
}

/** What the owner lets a relay do; whether there is one, the server says of each talk. */
function lookAtRelay({ status, configPath, isOwn }: Patient): Finding {
  let [policy, by] = [status?.relay, status?.relayBy];
  if (policy === undefined) {
    const read = configReader(configPath)();
    // Of a file that only its agent may read nothing is known.
    if ('problem' in read && !isOwn) return unchecked('no agent says how a relay is to be used');
    const settings = 'config' in read ? read.config.agent : undefined;
    const atStart = agentAtStart(settings, new Set());
    policy = atStart.settings.relay ?? 'if-needed';
    by = relaySource(atStart);
  }
  const words = relayPolicyWords(policy, by);
  if (policy === 'never') return ok(`${words}: talks go without one, or not at all`);
  return unchecked(`whether the server has one is seen in a call; here: ${words}`);
}

/** UDP both ways, through whatever stands between: a talk proves both ends to one another. */
async function lookAtPeer({ peer, waitMs, option, status }: Patient): Promise<Finding> {
  if (peer === undefined) {
    const next = 'nakodo doctor --peer NAME, of a terminal that allows you the service ping';
    return unchecked('UDP to and from other terminals: it takes one that answers', next);
  }
  if (status === undefined) return unchecked(`${peer} was not called: no agent runs`);
  try {
    const wish = { to: peer, service: PEER_SERVICE, waitMs };
    const talk = await CommandTalk.begin(wish, { home: option });
    const { path, rttMs } = talk.open;
    await talk.done();
    const where = path === undefined ? '' : `, ${openWayWords(talk.open)}`;
    const round = rttMs === undefined ? '' : `, round trip ${rttMs.toFixed(1)} ms`;
    return ok(`UDP passes both ways with ${peer}${where}${round}`);
  } catch (error) {
    if (!(error instanceof NakodoError)) throw error;
    const isPath = error.code === 'path-lost' || error.code === 'peer-gone';
    if (!isPath) return failed(error);
    return fail(`${peer} agreed, but UDP does not pass: ${error.message}`, error.next);
  }
}

async function lookAtDisk({ home, isOwn }: Patient): Promise<Finding> {
  let free: number;
  try {
    const { bavail, bsize } = await statfs(home.folder);
    free = bavail * bsize;
  } catch (error) {
    return errorCode(error) === 'ENOENT'
      ? unchecked('there is no home')
      : thrown(error, home.folder);
  }
  if (isOwn) {
    const probe = join(home.folder, `.doctor-${process.pid}`);
    try {
      await writeFile(probe, 'nakodo', { flag: 'wx', mode: 0o600 });
    } catch (error) {
      return thrown(error, home.folder);
    } finally {
      await unlink(probe).catch(() => {});
    }
  }
  const left = `${formatSize(free)} free`;
  const next = 'free some space: du -xh / | sort -h | tail';
  if (free < DISK_BYTES_MIN) return fail(`the disk is full: ${left}`, next);
  if (free < DISK_BYTES_LOW) return warn(`${left}, which is little for files`, next);
  return ok(`${left}${isOwn ? ', can be written' : ''}`);
}

function thrown(error: unknown, folder: string): Finding {
  if (errorCode(error) !== 'EROFS') return failed(fileError(error, folder, 'write in'));
  const next = `see what happened to it: dmesg | tail; findmnt -T ${shellWord(folder)}`;
  return fail(`${folder} is on a disk that is read-only`, next);
}

function lookAtMemory(): Finding {
  const match = /^MemAvailable: *(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'));
  if (match === null) return unchecked('this system does not say how much is left');
  const available = Number(match[1]) * BYTES_PER_KIB;
  const left = `${formatSize(available)} available`;
  if (available >= MEMORY_BYTES_LOW) return ok(left);
  return warn(`${left}: talks may fail`, 'end what is not needed: ps aux --sort -rss | head');
}

function lookAtNode(): Finding {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const [majorMin, minorMin] = NODE_MIN;
  const isNew = major > majorMin || (major === majorMin && minor >= minorMin);
  const is = `Node ${process.versions.node}, ${process.platform} ${process.arch}`;
  return isNew ? ok(is) : fail(`${is} is too old`, 'install nodejs 20.19 or later');
}
