// What a person at a command hears of its talk: that the callee is asked, that it agreed, that the
// talk nears its end or was given more. Progress goes to a terminal only, warnings to standard
// error; nothing of it with `--json`, where the end says everything.

import { formatDuration, formatSize } from '../../protocol/units.ts';
import type { Output } from '../output.ts';
import type { TalkTold } from '../talk.ts';

/** Listens to a talk for a person. */
export interface TalkWords {
  /** To be given every event of the talk (`onEvent` of CommandTalk). */
  readonly hear: (told: TalkTold) => void;
  /** What is known of a talk that came about, to stand beside an error; empty until it ended. */
  readonly known: () => Readonly<Record<string, unknown>>;
}

/** Speaks of the talk with `peer`; `extend`: whether more is asked for when 70 % are used. */
export function talkWords(output: Output, peer: string, extend: boolean): TalkWords {
  let ended: Readonly<Record<string, unknown>> = {};
  const hear = (told: TalkTold): void => {
    if (told.event === 'ended') {
      const { event: _, limit: _limit, ...known } = told;
      ended = known;
    }
    const progress = PROGRESS[told.event];
    if (progress !== undefined) output.progress(progress(peer, told));
    if (told.event === 'open') output.progressDone();
    if (output.json) return;
    if (told.event === 'expiryNear' && !extend) {
      const what = told.by === 'bytes' ? 'bytes' : 'time';
      output.warn(`70 % of the granted ${what} are used; the talk ends when all are.`);
    }
    if (told.event === 'extensionRefused') {
      output.warn(`${peer} gives no more: the talk ends when what was granted is used up.`);
    }
  };
  return { hear, known: () => ended };
}

const PROGRESS: Readonly<Record<string, (peer: string, told: TalkTold) => string>> = {
  waiting: (peer) => `waiting for ${peer} to agree …`,
  introduced: (peer) => `${peer} agreed, connecting …`,
  extended: (peer, { seconds, bytes }) =>
    `${peer} gives more: ${termsWords({ seconds, bytes })} in all`,
};

/** A grant in words: `15 min, 200 MB`. */
export function termsWords(terms: {
  readonly seconds?: unknown;
  readonly bytes?: unknown;
}): string {
  const time = formatDuration(Number(terms.seconds) * 1000);
  return terms.bytes === undefined ? time : `${time}, ${formatSize(Number(terms.bytes))}`;
}
