/**
 * Keeps the store in step with the server: stream, watchdog, reconnection with a whole overview.
 *
 * On each connection the stream opens first and its events wait until the overview has been taken, so that nothing
 * falls between the two.  `health` comes every 2 s; 4 s without any event means that the stream is lost.
 */
import { fetchOverview, fetchSession, openStream } from './api.js';
import { refreshIncidents } from './incidents.js';
import { changed, mark, now, set, state, takeAlarm, takeLatest, takeOverview } from './store.js';

const SILENCE_MS = 4_000;
const RETRY_MS = [500, 1_000, 2_000, 4_000, 8_000];
const REFRESH_MS = 300_000;

export function startLink() {
  let close = null;
  let waiting = null; // events held back until the overview is here
  let failures = 0;
  let life = 0; // counts connections, so that late answers of an old one are ignored
  let retry = null;
  let refreshed = 0;

  function lose() {
    life += 1;
    close?.();
    close = null;
    if (state.link.status !== 'lost') {
      state.link = { ...state.link, status: 'lost', since: state.link.heard || state.link.since };
    }
    changed();
    fetchSession().then((told) => { if (!told.person) location.reload(); }, () => {}); // a stream does not say why it was refused
    clearTimeout(retry);
    retry = setTimeout(connect, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
    failures += 1;
  }

  function take(kind, data) {
    if (kind === 'alarm') takeAlarm(data);
    else if (kind === 'latest') takeLatest(data);
    else if (kind === 'notices') set({ notices: state.notices + (data.includes(state.reading) ? 1 : 0), told: state.told + (state.incident ? 1 : 0) });
    else if (kind === 'incidents') {
      set({ told: state.told + (data.includes(state.incident) ? 1 : 0) });
      refreshIncidents();
    }
    else if (kind === 'health') {
      state.health = { ...data, at: Date.now() };
      changed();
    }
  }

  async function begin(mine) {
    waiting ??= [];
    try {
      const overview = await fetchOverview();
      if (mine !== life) return;
      takeOverview(overview);
      refreshed = Date.now();
      for (const [kind, data] of waiting) take(kind, data);
      waiting = null;
      failures = 0;
      state.link = { status: 'live', since: Date.now(), heard: Date.now() };
      changed({ map: true });
      refreshIncidents();
    } catch (error) {
      if (!error.words) throw error;
      if (mine === life) lose();
    }
  }

  function connect() {
    life += 1;
    const mine = life;
    waiting = [];
    opened = Date.now();
    close = openStream((kind, data) => {
      if (mine !== life) return;
      if (kind === 'lost') return lose();
      if (kind === 'open') return begin(mine);
      state.link.heard = Date.now();
      if (waiting) waiting.push([kind, data]);
      else take(kind, data);
    });
  }

  let opened = Date.now();
  function watch() {
    const quiet = Date.now() - Math.max(state.link.heard, opened);
    if (close && state.link.status === 'live' && quiet > SILENCE_MS) lose();
    else if (close && state.link.status !== 'live' && quiet > 3 * SILENCE_MS) lose();
    if (state.link.status === 'live' && Date.now() - refreshed > REFRESH_MS) {
      refreshed = Date.now();
      begin(life);
    }
    const different = mark(now());
    changed({ map: different });
  }

  setInterval(watch, 1_000);
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return;
    watch();
    if (state.link.status === 'live') begin(life);
  });
  connect();
}
