/**
 * Sound for alarms that nobody has acknowledged, off until a person turns it on: red three tones, orange two, every 8 s.
 */
import { rankOf } from './severity.js';
import { changed, isHeld, onAlarm, state } from './store.js';

const EVERY_MS = 8_000;
const TONES = { 4: [880, 660, 880], 3: [660, 523] };

let context = null;

function play(rank) {
  const tones = TONES[rank];
  if (!tones || context?.state !== 'running') return;
  tones.forEach((frequency, i) => {
    const start = context.currentTime + i * 0.28;
    const oscillator = new OscillatorNode(context, { frequency, type: 'triangle' });
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.linearRampToValueAtTime(0.25, start + 0.02);
    gain.gain.linearRampToValueAtTime(0, start + 0.25);
    oscillator.connect(gain).connect(context.destination);
    oscillator.start(start);
    oscillator.stop(start + 0.26);
  });
}

const calls = (alarm) => alarm.state === 'unacknowledged' && !isHeld(alarm) && !alarm.retrospective;

function worst() {
  return Math.max(0, ...[...state.alarms.values()].filter(calls).map((alarm) => rankOf(alarm.severity)));
}

export async function toggleSound() {
  if (state.sound === 'on') {
    state.sound = 'off';
  } else {
    context ??= new AudioContext();
    await context.resume();
    state.sound = context.state === 'running' ? 'on' : 'locked';
    play(worst());
  }
  changed();
}

export function startSound() {
  onAlarm((alarm, before) => {
    if (state.sound === 'on' && calls(alarm) && rankOf(alarm.severity) > rankOf(before?.severity)) play(rankOf(alarm.severity));
  });
  setInterval(() => {
    if (state.sound === 'on') play(worst());
  }, EVERY_MS);
}
