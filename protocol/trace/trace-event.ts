// What a connection tells whoever watches it: the events of congestion control, recovery and path,
// as plain objects with the connection's own clock. `qlog.ts` writes them for existing viewers.

import type { EndReason } from '../ends.ts';
import type { Micros } from '../time.ts';

/** One observation; `at` on the clock that the connection was driven with. Bytes, microseconds. */
export type TraceEvent =
  | {
      readonly kind: 'packetSent';
      readonly at: Micros;
      readonly packetNumber: number;
      readonly bytes: number;
      readonly eliciting: boolean;
    }
  | {
      readonly kind: 'packetReceived';
      readonly at: Micros;
      readonly packetNumber: number;
      readonly bytes: number;
    }
  | {
      /** An ACK came, in the packet received last. First and last number of each range. */
      readonly kind: 'acknowledged';
      readonly at: Micros;
      readonly ranges: readonly (readonly [number, number])[];
    }
  | {
      readonly kind: 'packetLost';
      readonly at: Micros;
      readonly packetNumber: number;
      readonly bytes: number;
    }
  | { readonly kind: 'spuriousLoss'; readonly at: Micros; readonly packetNumber: number }
  | {
      /** After each acknowledgement. */
      readonly kind: 'metrics';
      readonly at: Micros;
      readonly congestionWindow: number;
      readonly bytesInFlight: number;
      /** Bytes per microsecond; undefined when the controller states none. */
      readonly pacingRate: number | undefined;
      /** Bytes per microsecond of the newest sample; undefined: no sample. */
      readonly deliveryRate: number | undefined;
      readonly smoothedRtt: number;
      readonly latestRtt: number;
      readonly minimumRtt: number;
    }
  | {
      /** A round trip that no acknowledgement showed: handshake, probes, path validation. */
      readonly kind: 'roundTrip';
      readonly at: Micros;
      readonly micros: number;
    }
  | { readonly kind: 'phase'; readonly at: Micros; readonly from: string; readonly to: string }
  | { readonly kind: 'timeout'; readonly at: Micros; readonly count: number }
  | { readonly kind: 'datagramBytes'; readonly at: Micros; readonly bytes: number }
  | { readonly kind: 'path'; readonly at: Micros; readonly isValidated: boolean }
  | { readonly kind: 'ended'; readonly at: Micros; readonly reason: EndReason };

/** Takes events as they happen; must not call back into the connection. */
export type Trace = (event: TraceEvent) => void;
