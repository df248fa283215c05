// An introduction at a virtual manager in which each terminal says where it is, and the broker how
// it looks from there.

import type { Candidate, FoundAddress, MessageOf, Terms } from '../../protocol/control/messages.ts';
import type { SessionId } from '../../protocol/ids.ts';
import {
  type MeetingFields,
  type Terminal,
  type World,
  SITE_ADDRESS,
  allow,
  down,
} from './virtual-manager.ts';

/** One end, as it and the broker tell of it; seen at SITE_ADDRESS unless it says otherwise. */
export type MeetingEnd = Partial<Omit<FoundAddress, 'device' | 'record'>> & MeetingFields;

interface Met {
  readonly session: SessionId;
  readonly toCaller: MessageOf<'addressNotice'>;
  readonly toCallee: MessageOf<'addressNotice'>;
}

/** Introduces two terminals; what each was told. */
export function meet(
  world: World,
  [caller, callee]: readonly [Terminal, Terminal],
  ends: { readonly caller?: MeetingEnd; readonly callee?: MeetingEnd; readonly want?: Terms } = {},
): Met {
  const { want = {} } = ends;
  world.connect(caller, callee.name, { want, meeting: saidBy(ends.caller) });
  const { request } = world.asked(callee, 'ask');
  world.answerList(callee, request, [allow(caller.name)], 'verdict', saidBy(ends.callee));
  world.answerFound([foundOf(caller, ends.caller), foundOf(callee, ends.callee)]);
  const row = world.manager.sessions('open').at(-1);
  if (row === undefined) throw new Error('no session began');
  return {
    session: row.session,
    toCaller: noticeTo(world, caller),
    toCallee: noticeTo(world, callee),
  };
}

function noticeTo(world: World, terminal: Terminal): MessageOf<'addressNotice'> {
  const notice = world.of('addressNotice').findLast(({ topic }) => topic === down(terminal));
  if (notice === undefined) throw new Error(`no notice for ${terminal.name}`);
  return notice.message;
}

const saidBy = ({ delayMs, relay }: MeetingEnd = {}): MeetingFields => ({ delayMs, relay });

function foundOf(
  { id: device }: Terminal,
  { candidates = [], seenAt = SITE_ADDRESS, proven, varies }: MeetingEnd = {},
): Omit<FoundAddress, 'record'> {
  return { device, candidates, seenAt, proven, varies };
}

/** A candidate. */
export function at(address: Uint8Array, type: Candidate['type'] = 'host', port = 4_000): Candidate {
  return { address, port, type };
}

/** IPv4 bytes of a dotted text. */
export const v4 = (text: string): Uint8Array => Uint8Array.from(text.split('.').map(Number));
