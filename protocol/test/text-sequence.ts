// Reads a trace back: JSON text sequences (RFC 7464) whose records are qlog
// (draft-ietf-quic-qlog-main-schema).

/** One event of a trace. */
export interface QlogRecord {
  readonly time: number;
  readonly name: string;
  readonly data: Record<string, unknown>;
}

interface Qlog {
  readonly header: Record<string, unknown>;
  readonly events: readonly QlogRecord[];
}

/** Splits a text sequence as RFC 7464 §2.1 says; throws for whatever is not one. */
export function parseQlog(text: string): Qlog {
  if (!text.startsWith('\u001E') || !text.endsWith('\n')) throw new Error('no text sequence');
  const records = text.slice(1).split('\u001E');
  const values = records.map((line) => {
    if (line.indexOf('\n') !== line.length - 1) throw new Error('LF inside or missing');
    return JSON.parse(line);
  });
  return { header: values[0], events: values.slice(1) };
}

/** Numbers of the packets that events of this name tell of. */
export function packetsOf({ events }: Qlog, name: string): Set<number> {
  const numbers = new Set<number>();
  for (const event of events) {
    if (event.name !== name) continue;
    const { packet_number } = event.data.header as { packet_number: number };
    numbers.add(packet_number);
  }
  return numbers;
}
