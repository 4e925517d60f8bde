/**
 * The four warning levels as people see them: colour, roman numeral, shape and word, never colour alone.
 *
 * Shapes are drawn in a 24 × 24 box: octagon I, triangle II, diamond III, circle IV.
 */

export const SEVERITIES = ['red', 'orange', 'yellow', 'blue'];

/** Per colour: level, urgency (greater is worse), drawing colour, ink that reads on it, and its outline. */
export const SEVERITY = {
  red: { level: 'I', rank: 4, color: '#ff5f57', ink: '#1a0605', path: 'M8 2h8l6 6v8l-6 6H8l-6-6V8z', lift: 0 },
  orange: { level: 'II', rank: 3, color: '#ff9f40', ink: '#1c0e00', path: 'M12 1.5 23 21.5H1z', lift: 2.6 },
  yellow: { level: 'III', rank: 2, color: '#f4d649', ink: '#191400', path: 'M12 .5 23.5 12 12 23.5.5 12z', lift: 0 },
  blue: { level: 'IV', rank: 1, color: '#6ea8ff', ink: '#020c1d', path: 'M12 1.5a10.5 10.5 0 1 1 0 21 10.5 10.5 0 0 1 0-21z', lift: 0 },
};

export const rankOf = (severity) => SEVERITY[severity]?.rank ?? 0;
export const byRank = (rank) => SEVERITIES[4 - rank] ?? null;

/** Alarms by severity, what lasts before what is over, then the newest first. */
export function inOrder(alarms) {
  return [...alarms].sort((a, b) =>
    rankOf(b.severity) - rankOf(a.severity) || (a.ended_ms !== null) - (b.ended_ms !== null) || b.began_ms - a.began_ms
    || (a.id < b.id ? -1 : 1));
}

/** How many of these alarms stand at each level: {red, orange, yellow, blue}. */
export function countBySeverity(alarms) {
  const counts = Object.fromEntries(SEVERITIES.map((word) => [word, 0]));
  for (const alarm of alarms) counts[alarm.severity] += 1;
  return counts;
}
