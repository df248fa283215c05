// What a proven peer did that the protocol forbids. Thrown by the frame handlers below
// `Connection.handleDatagram`, caught there, once, and turned into the end `protocol-error`.

/** The peer broke the protocol; `message` says how, without content. */
export class PeerError extends Error {
  readonly code = 'protocol-error';
  constructor(message: string) {
    super(message);
    this.name = 'PeerError';
  }
}
