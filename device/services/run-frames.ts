// What the callee of a talk of `run:NAME` writes on a stream: the hook's standard output and
// standard error in frames, then how it ended. The other direction is its standard input as it is.
//
//   frame   1: type | length (2, big endian) | payload
//   types   1 standard output · 2 standard error · last of all one of
//           3 exited (1: code) · 4 killed (1: signal's number) · 5 not run (1: why)
//   why     1 no such hook · 2 as many run as its owner permits · 3 it could not be started

/** What stands before a hook's name in the name of its service. */
export const RUN_PREFIX = 'run:';
/** A hook's name. */
export const HOOK_NAME = /^[a-z0-9][a-z0-9._-]{0,30}$/;

const HEAD_BYTES = 3;
/** Payload of the largest frame: what two bytes of length can say. */
const PAYLOAD_BYTES_MAX = 0xffff;
const TYPE = { stdout: 1, stderr: 2, exited: 3, killed: 4, notRun: 5 } as const;
const WHY_NOT = ['no-hook', 'hook-busy', 'hook-not-started'] as const;

/** Why a hook was not run. */
export type NotRun = (typeof WHY_NOT)[number];

/** How a run ended: exit code, number of the signal, or why it did not begin. */
export type RunOutcome =
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'killed'; readonly signal: number }
  | { readonly kind: 'notRun'; readonly why: NotRun };

/** What a frame says. */
type RunFrame =
  | { readonly kind: 'stdout' | 'stderr'; readonly bytes: Uint8Array }
  | { readonly kind: 'outcome'; readonly outcome: RunOutcome };

/** Output of a hook as frames, one behind the other; `bytes` are copied. */
export function encodeOutput(kind: 'stdout' | 'stderr', bytes: Uint8Array): Uint8Array {
  const frames: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += PAYLOAD_BYTES_MAX) {
    frames.push(frame(TYPE[kind], bytes.subarray(at, at + PAYLOAD_BYTES_MAX)));
  }
  return Buffer.concat(frames);
}

/** The last frame of a run. */
export function encodeOutcome(outcome: RunOutcome): Uint8Array {
  switch (outcome.kind) {
    case 'exited':
      return frame(TYPE.exited, Uint8Array.of(outcome.code & 0xff));
    case 'killed':
      return frame(TYPE.killed, Uint8Array.of(outcome.signal & 0xff));
    case 'notRun':
      return frame(TYPE.notRun, Uint8Array.of(WHY_NOT.indexOf(outcome.why) + 1));
  }
}

function frame(type: number, payload: Uint8Array): Uint8Array {
  const head = Buffer.alloc(HEAD_BYTES);
  head[0] = type;
  head.writeUInt16BE(payload.length, 1);
  return Buffer.concat([head, payload]);
}

/** Reads frames out of pieces of any size; keeps at most one frame. */
export class RunFrameReader {
  #unread: Buffer = Buffer.alloc(0);

  /** The frames that are whole now; `bad`: the other end does not speak this. */
  read(chunk: Uint8Array): readonly RunFrame[] | 'bad' {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    const frames: RunFrame[] = [];
    let at = 0;
    while (this.#unread.length - at >= HEAD_BYTES) {
      const end = at + HEAD_BYTES + this.#unread.readUInt16BE(at + 1);
      if (this.#unread.length < end) break;
      const read = frameOf(this.#unread[at], this.#unread.subarray(at + HEAD_BYTES, end));
      if (read === undefined) return 'bad';
      frames.push(read);
      at = end;
    }
    this.#unread = this.#unread.subarray(at);
    return frames;
  }
}

function frameOf(type: number, payload: Buffer): RunFrame | undefined {
  if (type === TYPE.stdout) return { kind: 'stdout', bytes: payload };
  if (type === TYPE.stderr) return { kind: 'stderr', bytes: payload };
  if (payload.length !== 1) return undefined;
  const [value] = payload;
  if (type === TYPE.exited) return { kind: 'outcome', outcome: { kind: 'exited', code: value } };
  if (type === TYPE.killed) return { kind: 'outcome', outcome: { kind: 'killed', signal: value } };
  const why = type === TYPE.notRun && value >= 1 ? WHY_NOT.at(value - 1) : undefined;
  return why && { kind: 'outcome', outcome: { kind: 'notRun', why } };
}
