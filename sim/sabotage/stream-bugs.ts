// Deliberate bugs of streams: what is sent, acknowledged, sent again, put in order, and how it is
// counted. The transport below them has its own: data-bugs.ts.

import type { Sabotage } from './sabotage.ts';

/** In the streams of protocol/data. */
export const STREAM_SABOTAGES: readonly Sabotage[] = [
  {
    name: 'overlap-copied-from-the-wrong-place',
    core: 'data',
    file: 'protocol/data/receive-stream.ts',
    find: 'this.#buffer.write(offset + skip, bytes, start + skip, end);',
    replace: 'this.#buffer.write(offset + skip, bytes, start, end - skip);',
    why: 'a piece that came again, cut in another place, overwrites bytes with wrong ones',
    source: 'invariant: in order, once',
  },
  {
    name: 'gap-closed-one-byte-early',
    core: 'data',
    file: 'protocol/data/receive-stream.ts',
    find: 'this.#ahead.insert(offset, last);',
    replace: 'this.#ahead.insert(offset, last + 1);',
    why: 'behind a gap the first byte of the next piece counts as arrived: it is read as 0',
    source: 'invariant: in order, once',
  },
  {
    name: 'stream-window-update-lost-for-good',
    core: 'data',
    file: 'protocol/data/packet-fate.ts',
    find: 'streams.sender.onControlLost(kind, a);',
    replace: 'if (kind !== PART.maxStreamData) streams.sender.onControlLost(kind, a);',
    why: 'a transfer whose first MAX_STREAM_DATA is lost stands still at 64 KiB',
    under: { 'udp.loss': 0.1, 'work.bytes': 1_000_000 },
  },
  {
    name: 'connection-window-update-lost-for-good',
    core: 'data',
    file: 'protocol/data/packet-fate.ts',
    find: 'streams.sender.onMaxDataLost();',
    replace: '{ }',
    why: 'a transfer whose first MAX_DATA is lost stands still at 256 KiB',
    under: { 'udp.loss': 0.1, 'work.bytes': 1_000_000 },
  },
  {
    name: 'done-forgets-an-end-under-way',
    core: 'data',
    file: 'protocol/data/streams.ts',
    find: 'if (send.unacked > 0 || send.hasRepair || send.isEndUnderWay)',
    replace: 'if (send.unacked > 0 || send.hasRepair)',
    why: 'the last packet holds nothing but the end of a stream and is lost: who reads never ends',
    source: 'commit 4e784c0',
  },
  {
    name: 'retransmission-counted-as-sent',
    core: 'data',
    file: 'protocol/data/stream-sender.ts',
    find:
      'if (fresh > 0) { this.#flow.onSent(fresh); this.#meter.spend(fresh); ' +
      'this.#sentBytes += fresh;',
    replace:
      'if (fresh === 0) this.#sentBytes += length; ' +
      'if (fresh > 0) { this.#flow.onSent(fresh); this.#meter.spend(fresh); ' +
      'this.#sentBytes += fresh;',
    why: 'on a lossy path the sender says it sent more than the receiver can have had',
    source: 'invariant: both ends count the same',
  },
  {
    name: 'reset-stream-left-out-of-the-counts',
    core: 'data',
    file: 'protocol/data/send-stream.ts',
    find: 'return this.isReset && !this.isSettled ? this.#next - this.#base : this.unacked;',
    replace: 'return this.unacked;',
    why: 'a reset that never arrived leaves its bytes out: the two end notices differ',
    source: 'commit bfb8662',
  },
  {
    name: 'lost-end-never-sent-again',
    core: 'data',
    file: 'protocol/data/send-stream.ts',
    find: "if (fin && this.#fin === 'sent') this.#fin = 'queued';",
    replace: '',
    // An end that leaves with bytes is sent again with them; one that leaves alone is the bug's.
    under: { 'udp.loss': 0.3, 'work.calls': 30, 'work.bytes': 300 },
    why: 'everything has arrived but that this was all: the reader waits for more',
  },
  {
    name: 'repair-one-byte-short',
    core: 'data',
    file: 'protocol/data/send-stream.ts',
    find: 'const wanted = repair ? this.#lost.end(0) - offset :',
    replace: 'const wanted = repair ? this.#lost.end(0) - offset - 1 :',
    why: 'the last byte of each lost piece is never sent again',
  },
  {
    name: 'later-acknowledgement-covers-a-gap',
    core: 'data',
    file: 'protocol/data/send-stream.ts',
    find: 'if (offset <= this.#base && this.#acked.count === 0) {',
    replace: 'if (this.#acked.count === 0) {',
    why: 'a piece that overtook a lost one makes the sender forget the lost one',
  },
  {
    name: 'delivered-when-only-the-end-is',
    core: 'data',
    file: 'protocol/data/send-stream.ts',
    find: "return this.#fin === 'acknowledged' && this.#base === this.#written;",
    replace: "return this.#fin === 'acknowledged';",
    why: 'the owner is told that all has arrived while a piece is missing for good',
  },
];
