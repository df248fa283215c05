// What a command and its agent say over the local socket, spoiled: frames that are heard, or a
// connection that is ended. Data without credit ends it, so nothing piles up.

import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import t from 'tap';
import { FrameType, LocalChannel } from '../io/local-channel.ts';
import { fuzz } from './fuzz.ts';

/** A socket of which only what the channel uses is there: it is told what comes, and hears. */
class Wire extends EventEmitter {
  destroyed = false;
  writable = true;
  readonly writableLength = 0;
  readonly said: Buffer[] = [];

  write(bytes: Buffer): void {
    this.said.push(Buffer.from(bytes));
  }
  cork(): void {}
  uncork(): void {}
  destroy(): void {
    this.destroyed = true;
    this.writable = false;
  }
}

function channelOn(wire: Wire): LocalChannel {
  return new LocalChannel(wire as unknown as Socket);
}

function said(say: (channel: LocalChannel) => void): Uint8Array {
  const wire = new Wire();
  say(channelOn(wire));
  return Uint8Array.from(Buffer.concat(wire.said));
}

const request = { op: 'send', to: 'TERM3', files: [{ name: 'a', size: 7 }], nothing: null };
const valid = [
  said((channel) => channel.sendJson(FrameType.request, request)),
  said((channel) => channel.sendJson(FrameType.result, { ok: true })),
  said((channel) => {
    channel.sendJson(FrameType.event, { at: 1.5 });
    channel.sendJson(FrameType.error, { code: 'x', message: 'é' });
  }),
  Uint8Array.of(FrameType.credit, 0, 0, 0, 4, 0, 1, 0, 0),
  Uint8Array.of(FrameType.dataEnd, 0, 0, 0, 0),
  Uint8Array.of(FrameType.data, 0, 0, 0, 1, 7),
];

t.test('any bytes on the local socket: frames that are heard, or the end', async (t) => {
  fuzz(t, {
    what: 'local socket',
    valid,
    // JSON can be written in many ways.
    again: 'settled',
    read: (bytes) => {
      const wire = new Wire();
      const heard = said((again) => {
        const channel = channelOn(wire);
        channel.onJson = (type, value) => again.sendJson(type, value);
        wire.emit('data', Buffer.from(bytes));
      });
      return wire.destroyed ? undefined : heard;
    },
  });
});
