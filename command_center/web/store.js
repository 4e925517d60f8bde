/**
 * Everything the page knows, in one place: sites, devices, alarms, health, the state of the stream, and the choices of
 * the person at the screen.  Changes are announced once per animation frame; what must not wait for a frame (sound,
 * the map) listens with `onAlarm`.
 */
import { useLayoutEffect, useReducer } from './vendor/htm/standalone.module.js';
import { rankOf } from './severity.js';

const INTERVALS_KEPT = 8;
const PERIOD_UNKNOWN_MS = 60_000;
const PERIOD_FLOOR_MS = 2_000;
const TRAIL_KEPT = 1_200;
const CLOSED_KEPT = 200;
const BAD_FROM = 128; // telemetry/quality.py: no value was received

export const state = {
  lang: 'zh',
  title: { zh: '指挥中心', en: 'Command centre' },
  map: {},
  streets: null,
  classes: {},
  sites: new Map(),
  devices: new Map(),
  agents: new Map(),
  alarms: new Map(), // every alarm that is not closed
  closed: [], // alarms seen to close, newest first
  health: null,
  open: 0, // how many alarms there were, and how many of them, the worst, the server gave
  loaded: 0,
  link: { status: 'connecting', since: Date.now(), heard: 0 },
  skew: 0, // server clock minus this clock, ms
  selected: new URLSearchParams(location.search).get('device'), // device id; boards link to one
  boards: '', // where Grafana is, empty when the district has none
  metric: null, // metric chosen for the chart
  me: undefined, // who is signed in: {person, rights}; null for nobody, undefined until the server has said
  door: { waiting: true, words: null }, // what the way in shows
  again: false, // whether the password is asked for again
  account: false, // whether the account is open
  asking: null, // alarm id whose acknowledgement dialog is open
  reading: null, // alarm id whose record is open
  sweeping: null, // alarms that the dialog for many is about
  watched: { device: null, metric: null, trail: [] }, // what the chart shows, and [time, value] since it does
  tab: 'alarms',
  sound: 'off',
  incidents: [], // those that are open, the newest first
  outside: [], // warnings from outside that hold
  incident: null, // incident id whose record is open
  told: 0, // grows when anything of an incident may have changed
  notices: 0, // grows when a message to a person changes
  version: 0, // grows with every change
  places: 0, // grows when anything on the map changes
};

const listeners = new Set();
const alarmListeners = new Set();
let framed = false;

/** Announce a change at the next frame; `map` when markers must be drawn anew. */
export function changed({ map = false } = {}) {
  state.version += 1;
  if (map) state.places += 1;
  if (framed) return;
  framed = true;
  requestAnimationFrame(() => {
    framed = false;
    for (const listener of listeners) listener();
  });
}

export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Hear of each alarm as it arrives, even while the page is hidden: `listener(alarm, before)`. */
export function onAlarm(listener) {
  alarmListeners.add(listener);
  return () => alarmListeners.delete(listener);
}

/**
 * Re-render a component, and all below it, with every change: the page's root uses it, the rest reads `state`.
 * It listens before the browser may paint: an answer that comes between the first picture and its effects is not missed.
 */
export function useStore() {
  const [, render] = useReducer((n) => n + 1, 0);
  useLayoutEffect(() => onChange(() => render()), []);
}

/** The server's time now, UTC ms. */
export const now = () => Date.now() + state.skew;

/** Whether an alarm is shelved, suppressed or out of service: it stays in the record and asks nobody. */
export const isHeld = (alarm) => (alarm.suppression ?? 'none') !== 'none';

/** Whether somebody has still to say that he has seen it. */
export const isUnseen = (alarm) =>
  ['unacknowledged', 'latched_unacknowledged', 'ended_unacknowledged'].includes(alarm.state) && !isHeld(alarm);

/** Open alarms that are nobody's decision to leave alone. */
export const openAlarms = () => [...state.alarms.values()].filter((alarm) => !isHeld(alarm));

function deviceOf(row, before) {
  const latest = before?.latest ?? new Map();
  const device = { ...row, latest, heard: before?.heard ?? null, intervals: before?.intervals ?? [] };
  if (row.last_time !== null) note(device, row.last_time, row.values ?? {}, row.quality ?? {});
  return device;
}

function note(device, time, values, quality) {
  if (device.heard !== null && time > device.heard) {
    device.intervals.push(time - device.heard);
    if (device.intervals.length > INTERVALS_KEPT) device.intervals.shift();
  }
  if (device.heard === null || time > device.heard) device.heard = time;
  for (const [metric, value] of Object.entries(values)) {
    const before = device.latest.get(metric);
    if (before && before.time > time) continue;
    const good = value === null ? before?.good ?? null : { value, time };
    device.latest.set(metric, { value, time, quality: quality[metric] ?? 0, good });
  }
}

/** The usual time between two readings of this device, ms: as seen, else as configured, else a minute. */
export function periodOf(device) {
  if (device.intervals.length >= 3) {
    const sorted = [...device.intervals].sort((a, b) => a - b);
    return Math.max(PERIOD_FLOOR_MS, sorted[sorted.length >> 1]);
  }
  return Math.max(PERIOD_FLOOR_MS, (device.period_s ?? PERIOD_UNKNOWN_MS / 1000) * 1000);
}

/** Older than three of its periods. */
export const isStale = (device, time, at = now()) => time === null || at - time > 3 * periodOf(device);

/** `live`, `stale` (has not spoken for three periods), `mute` (speaks no value: no answer, fault) or `never`. */
export function conditionOf(device, at = now()) {
  if (device.heard === null) return 'never';
  if (isStale(device, device.heard, at)) return 'stale';
  const latest = [...device.latest.values()].filter((sample) => sample.time === device.heard);
  return latest.length && latest.every((sample) => sample.quality >= BAD_FROM) ? 'mute' : 'live';
}

/** Take a whole overview; what it does not name is gone. */
export function takeOverview(overview) {
  state.title = overview.title ?? state.title;
  state.boards = overview.boards ?? '';
  state.map = overview.map ?? {};
  state.streets = overview.streets ?? null;
  state.classes = overview.classes ?? {};
  state.skew = overview.now_ms - Date.now();
  state.sites = new Map((overview.sites ?? []).map((site) => [site.id, site]));
  state.agents = new Map((overview.agents ?? []).map((agent) => [agent.id, agent]));
  state.devices = new Map(overview.devices.map((row) => [row.id, deviceOf(row, state.devices.get(row.id))]));
  const before = state.alarms;
  state.alarms = new Map(overview.alarms.map((alarm) => [alarm.id, alarm]));
  state.open = Object.values(overview.open ?? {}).reduce((sum, count) => sum + count, 0);
  state.loaded = overview.alarms.length;
  for (const alarm of overview.alarms) announce(alarm, before.get(alarm.id));
  mark();
  changed({ map: true });
}

function announce(alarm, before) {
  for (const listener of alarmListeners) listener(alarm, before);
}

/** Take one alarm as it stands, unless a later state of it is known: what a person did and what the feed said may overtake each other. */
export function takeAlarm(alarm) {
  const before = state.alarms.get(alarm.id);
  const known = before ?? state.closed.find((one) => one.id === alarm.id);
  if (known && alarm.version < known.version) return;
  if (alarm.state === 'closed') {
    state.alarms.delete(alarm.id);
    if (state.asking === alarm.id) state.asking = null;
    state.closed = [alarm, ...state.closed.filter((one) => one.id !== alarm.id)].slice(0, CLOSED_KEPT);
  } else {
    state.alarms.set(alarm.id, alarm);
  }
  announce(alarm, before);
  mark();
  changed({ map: true });
}

/** Take a batch of readings. */
export function takeLatest(batch) {
  for (const reading of batch) {
    const device = state.devices.get(reading.device);
    if (!device) continue;
    const before = device.condition;
    note(device, reading.time, reading.values, reading.quality ?? {});
    device.condition = conditionOf(device);
    if (device.condition !== before) state.places += 1;
    const { watched } = state;
    if (reading.device === watched.device && watched.metric in reading.values) {
      watched.trail.push([reading.time, reading.values[watched.metric]]);
      if (watched.trail.length > TRAIL_KEPT) watched.trail.shift();
    }
  }
  changed();
}

/** Write the worst open severity and the condition onto every device; true when a marker would look different. */
export function mark(at = now()) {
  const worst = new Map();
  for (const alarm of state.alarms.values()) {
    const rank = rankOf(alarm.severity);
    const entry = worst.get(alarm.device) ?? { rank: 0, open: false };
    if (isHeld(alarm)) continue;
    const open = isUnseen(alarm);
    if (rank > entry.rank || (rank === entry.rank && open)) worst.set(alarm.device, { rank, open });
  }
  let different = false;
  for (const device of state.devices.values()) {
    const { rank, open } = worst.get(device.id) ?? { rank: 0, open: false };
    const condition = conditionOf(device, at);
    if (rank !== device.rank || open !== device.open || condition !== device.condition) different = true;
    Object.assign(device, { rank, open, condition });
  }
  return different;
}

export function select(device, metric = null) {
  if (state.selected !== device || metric !== null) Object.assign(state, { selected: device, metric });
  changed({ map: true });
}

/** Keep the readings of one metric from now on, for the chart that shows it. */
export function watch(device, metric) {
  state.watched = { device, metric, trail: [] };
}

export function set(values) {
  Object.assign(state, values);
  changed();
}
