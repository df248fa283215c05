// Time as the cores see it: microseconds on a monotonic clock that somebody else reads.
// Wall time never decides anything here; it exists only for the log and for memberships, and has
// its own type so that the two cannot be mixed up.

declare const unit: unique symbol;

/** Microseconds since the owner of the core started; monotonic; may be fractional by rounding. */
export type Micros = number & { readonly [unit]: 'micros' };

/** Milliseconds since 1970-01-01 UTC: for the log and memberships only. */
export type WallMs = number & { readonly [unit]: 'wall-ms' };

/** "No timer": Infinity, so that Math.min composes and no `undefined` is needed. */
export const NEVER = Infinity as Micros;

/** A number that is known to be an instant. */
export const micros = (value: number): Micros => value as Micros;
export const wallMs = (value: number): WallMs => value as WallMs;

/** The instant `microseconds` after `now`. */
export const after = (now: Micros, microseconds: number): Micros => (now + microseconds) as Micros;

/** The earlier of two instants. */
export const earlier = (a: Micros, b: Micros): Micros => (a < b ? a : b);

/** Units of `Micros`. */
export const MICROS_PER_MS = 1_000;
export const MICROS_PER_SECOND = 1_000_000;
/** A unit of wall time. */
export const MS_PER_SECOND = 1_000;

/** Milliseconds as microseconds. */
export const ms = (value: number): number => value * MICROS_PER_MS;
/** Seconds as microseconds. */
export const seconds = (value: number): number => value * MICROS_PER_SECOND;
