// How the transport of a talk stands: what it chose and how it fares, for `nakodo status`; and what
// else it has met with so far, for tests. Snapshots; nothing here changes anything.

import type { ConnectionParts } from './connection-parts.ts';
import type { TransportState } from './connection-types.ts';

/** What a connection counts beside what its `TalkState` has. */
export interface ConnectionStatistics {
  /** Datagrams that were nothing of ours. */
  readonly droppedDatagrams: number;
  readonly spuriousLosses: number;
  /** DATAGRAM payloads given up unsent because the path's datagrams became smaller. */
  readonly tooLargeMessages: number;
  /** Times that the datagram size fell back, and that the peer's address changed. */
  readonly blackHoles: number;
  readonly moves: number;
}

/** A snapshot of `parts`; `droppedDatagrams` is the connection's own count. */
export function connectionStatistics(
  { recovery, datagrams, size, paths }: ConnectionParts,
  droppedDatagrams: number,
): ConnectionStatistics {
  return {
    droppedDatagrams,
    spuriousLosses: recovery.spuriousLosses,
    tooLargeMessages: datagrams.tooLarge,
    blackHoles: size.blackHoles,
    moves: paths.moves,
  };
}

/** A snapshot of what `nakodo status` shows of the transport. */
export function transportState(parts: ConnectionParts): TransportState {
  const { aead, size, controller, recovery, streams } = parts;
  return {
    aead: aead.name,
    datagramBytes: size.current,
    congestionControl: controller.name,
    phase: controller.phase,
    congestionWindow: Math.round(controller.congestionWindow),
    bytesInFlight: recovery.bytesInFlight,
    receiveWindow: streams.receiveWindow,
    lostPackets: recovery.lostPackets,
  };
}
