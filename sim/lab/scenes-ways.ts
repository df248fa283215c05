// Scenes about the way that a talk takes: neighbours and homes of one carrier, IPv6, and UDP that
// is blocked at both sides.

import { EXIT } from '../../protocol/errors.ts';
import type { Call } from './calls.ts';
import { ACCESS, type Lab } from './lab.ts';
import type { LabPlan } from './map.ts';
import { planOf } from './matrix.ts';
import { A, B, type Scene, calls, joined, on, whole } from './stage.ts';
import type { TerminalsPlan } from './terminals.ts';

const MS_PER_SECOND = 1_000;
const SENTENCE_MS_MAX = 10_000;

/** UDP blocked at both sides: a sentence within 10 s, or a way through the relay over TCP. */
export async function blockedScene(): Promise<Scene> {
  const scenes: Scene[] = [];
  for (const hasRelay of [false, true]) {
    const name = hasRelay ? 'UDP blocked, a relay' : 'UDP blocked, no relay';
    const plan = planOf({ [A]: 'blocked', [B]: 'blocked' });
    const [call] = await on(plan, { hasRelay }, ({ terminals }) => calls(terminals, 1));
    const { setupMs, commandMs, failure, exit, lastWay } = call;
    const seconds = (commandMs / MS_PER_SECOND).toFixed(1);
    const words =
      setupMs === undefined
        ? `after ${seconds} s, exit ${exit}: ${failure}`
        : `${lastWay} at ${whole(setupMs)} ms`;
    const isRight = hasRelay
      ? lastWay === 'relay'
      : setupMs === undefined && exit === EXIT.unreachable && commandMs < SENTENCE_MS_MAX;
    const faults = isRight ? [] : [`${name}: ${words}`];
    scenes.push({ name, lines: [`${name}: ${words}`], figures: call, faults });
  }
  return joined('blocked', scenes);
}

/** Neighbours and homes of one carrier: on the LAN, by hairpin, or through the relay. */
export async function neighboursScene(): Promise<Scene> {
  const home = { kind: 'port-restricted' } as const;
  const carried = { ...home, behind: 'carrier' };
  const inOne = {
    hosts: { server: {}, [A]: { behind: ['home'] }, [B]: { behind: ['home'] } },
    link: ACCESS,
  };
  const inTwo = {
    hosts: { server: {}, [A]: { behind: ['one'] }, [B]: { behind: ['two'] } },
    link: ACCESS,
  };
  const two = { one: carried, two: carried };
  const cases: readonly Case[] = [
    ['one LAN', { ...inOne, boxes: { home } }, 'lan'],
    ['isolated', { ...inOne, boxes: { home: { ...home, isolates: true } } }, 'relay'],
    [
      'isolated, hairpin',
      { ...inOne, boxes: { home: { ...home, isolates: true, hairpins: true } } },
      'direct',
    ],
    ['one carrier', { ...inTwo, boxes: { carrier: home, ...two } }, 'relay'],
    [
      'one carrier, hairpin',
      { ...inTwo, boxes: { carrier: { ...home, hairpins: true }, ...two } },
      'direct',
    ],
  ];
  return ways('neighbours', cases, {});
}

/**
 * IPv6 alone, and beside IPv4 behind a NAT: direct, as nothing is translated; and through a relay
 * where walls let UDP to the server alone, or none.
 */
export async function ipv6Scene(): Promise<Scene> {
  const server = { families: 'both' } as const;
  const wall = { wallA: { kind: 'firewall' }, wallB: { kind: 'firewall' } } as const;
  const nat = { wallA: { kind: 'symmetric' }, wallB: { kind: 'symmetric' } } as const;
  const behind = (families: 'ipv6' | 'both') => ({
    server,
    [A]: { behind: ['wallA'], families },
    [B]: { behind: ['wallB'], families },
  });
  const open = { server, [A]: { families: 'ipv6' }, [B]: { families: 'ipv6' } } as const;
  const cases: readonly Case[] = [
    ['IPv6 only', { hosts: open, link: ACCESS }, 'direct'],
    ['IPv6 only, firewalls', { boxes: wall, hosts: behind('ipv6'), link: ACCESS }, 'direct'],
    ['both families, firewalls', { boxes: wall, hosts: behind('both'), link: ACCESS }, 'direct'],
    [
      'both families, symmetric NATs',
      { boxes: nat, hosts: behind('both'), link: ACCESS },
      'direct',
    ],
  ];
  const direct = await ways('ipv6', cases, { isIpv6: true });
  // Nobody has any IPv4, the server neither.
  const alone = { ...behind('ipv6'), server: { families: 'ipv6' } } as const;
  const plan = { boxes: wall, hosts: alone, link: ACCESS };
  const shut = (but?: string) => (lab: Lab) => {
    for (const box of Object.keys(wall)) lab.blockUdp(box, true, but);
  };
  const relayed: readonly Case[] = [
    ['IPv6 only, UDP to the server alone', plan, 'relay', shut('server')],
    ['IPv6 only, no UDP', plan, 'relay', shut()],
  ];
  return joined('ipv6', [direct, await ways('ipv6', relayed, { isIpv6: true })]);
}

/** In words, where, by which way; `prepare`: what happens to the lab before the call. */
type Case = readonly [words: string, plan: LabPlan, expected: string, prepare?: (lab: Lab) => void];

async function ways(
  name: string,
  cases: readonly Case[],
  more: Partial<TerminalsPlan>,
): Promise<Scene> {
  const scenes: Scene[] = [];
  for (const [words, plan, expected, prepare] of cases) {
    const [call] = await on(plan, more, ({ lab, terminals }) => {
      prepare?.(lab);
      return calls(terminals, 1, 3);
    }).catch((error: unknown): readonly Call[] => [failed(error)]);
    const last = call.ways.at(-1);
    const said =
      last === undefined
        ? (call.failure ?? 'none')
        : call.ways.map(({ way, atMs }) => `${way} at ${whole(atMs)} ms`).join(', ');
    scenes.push({
      name: words,
      lines: [`${words} (${expected}): ${said}`],
      figures: call,
      faults: last?.way === expected ? [] : [`${name}: ${words} should be ${expected}: ${said}`],
    });
  }
  return joined(name, scenes);
}

function failed(error: unknown): Call {
  const failure = error instanceof Error ? error.message : String(error);
  return {
    setupMs: undefined,
    firstByteMs: undefined,
    meetingMs: undefined,
    ways: [],
    lastWay: 'none',
    exit: undefined,
    failure,
    commandMs: 0,
  };
}
