/**
 * The alarm list: by severity, then newest first; what is old is said to be old; keyboard and screen readers first.
 *
 * At most ROWS rows are drawn at a time, so that a storm of thousands does not stop the page.
 */
import { html, useEffect, useRef, useState } from './vendor/htm/standalone.module.js';
import { fetchRecentAlarms } from './api.js';
import { momentOf, numberOf, sayValue, spanOf, unitOf, whenOf } from './format.js';
import { say, t } from './i18n.js';
import { IncidentList } from './incidents.js';
import { Mark } from './mark.js';
import { may } from './person.js';
import { countBySeverity, inOrder, SEVERITIES } from './severity.js';
import { isHeld, isUnseen, now, openAlarms, select, set, state } from './store.js';

const ROWS = 100;
const RECENT = 200;

export const canAcknowledge = (alarm) =>
  may('alarm.acknowledge') && ['unacknowledged', 'latched_unacknowledged', 'ended_unacknowledged'].includes(alarm.state);

/** "97.2 °C · limit 95 °C", the word of a state, or nothing where neither applies. */
export function Reading({ alarm }) {
  if (alarm.value === null && alarm.limit === null) return null;
  const metric = state.classes[alarm.class]?.metrics[alarm.metric];
  if (metric?.kind === 'state' || metric?.kind === 'bits') {
    return html`<span class="reading">${say(metric.label)} <b>${sayValue(metric, alarm.value, state.lang).text}</b></span>`;
  }
  const unit = unitOf(alarm.unit);
  return html`<span class="reading">
    <b>${numberOf(alarm.value)}</b>${unit && html`<i>${unit}</i>`}
    ${alarm.limit !== null && html`<span class="limit">${t('alarm.limit')} ${numberOf(alarm.limit)} ${unit}</span>`}
  </span>`;
}

function openAlarm(alarm) {
  select(alarm.device, alarm.metric);
  if (matchMedia('(max-width: 799px)').matches) set({ tab: 'devices' });
}

/** Who holds it, why and until when; or which logic does. */
function heldWords(alarm) {
  if (!alarm.hold) return t('hold.logic', alarm.suppressed_by ?? '');
  const { by, reason, until_ms: until } = alarm.hold;
  return t('hold.words', by, reason, whenOf(until, now(), state.lang));
}

export function AlarmRow({ alarm, current, refer, onFocus }) {
  const device = state.devices.get(alarm.device);
  const site = state.sites.get(alarm.site ?? device?.site);
  const over = alarm.ended_ms !== null;
  const held = isHeld(alarm);
  const stateWord = held ? t(`suppression.${alarm.suppression}`) : t(`state.${alarm.state}`);
  const place = [say(alarm.device_name ?? device?.name ?? alarm.device), site && say(site.name)].filter(Boolean).join(' · ');
  const began = momentOf(alarm.began_ms, state.lang);
  return html`<li ref=${refer} class="alarm ${alarm.severity} ${held ? 'held' : alarm.state}" data-alarm=${alarm.id}
      tabindex=${current ? 0 : -1} aria-label=${`${t(`level.${alarm.severity}`)}, ${stateWord}, ${say(alarm.title)}, ${place}`}
      aria-current=${alarm.device === state.selected ? 'true' : undefined}
      onFocus=${onFocus} onClick=${() => openAlarm(alarm)}>
    <div class="level"><${Mark} severity=${alarm.severity} hollow=${held || alarm.state !== 'unacknowledged'} /><span>${t(`color.${alarm.severity}`)}</span></div>
    <div class="what">
      <p class="title">${say(alarm.title)}<span class="category">${t(`category.${alarm.category}`)}</span>
        ${alarm.chattering && html`<span class="category">${t('alarm.chattering', alarm.repeats + 1)}</span>`}
        ${alarm.retrospective && html`<span class="category">${t('alarm.late')}</span>`}</p>
      <p class="place">${place}</p>
      <p class="facts"><${Reading} alarm=${alarm} />
        <time title=${began}>${t('alarm.began', whenOf(alarm.began_ms, now(), state.lang))} · ${t('alarm.ago', spanOf(now() - alarm.began_ms, state.lang))}</time>
        ${over && html`<span>${t('alarm.ended', whenOf(alarm.ended_ms, now(), state.lang))}</span>`}</p>
      ${held && html`<p class="who">⏸ ${heldWords(alarm)}</p>`}
      ${alarm.assigned_to && html`<p class="who">→ ${t('alarm.assigned', alarm.assigned_to)}</p>`}
      ${alarm.acknowledged_by && html`<p class="who">✓ ${t('alarm.by', alarm.acknowledged_by, whenOf(alarm.acknowledged_ms, now(), state.lang))}${alarm.comment ? `　${alarm.comment}` : ''}</p>`}
    </div>
    <div class="deed">
      <span class="state">${stateWord}</span>
      <div class="do">
        <button class="open" tabindex=${current ? 0 : -1} aria-label=${t('record.open')} title=${t('record.open')}
          onClick=${(event) => { event.stopPropagation(); set({ reading: alarm.id }); }}>⋯</button>
        ${canAcknowledge(alarm) && !held && html`<button class="ack" tabindex=${current ? 0 : -1}
          onClick=${(event) => { event.stopPropagation(); set({ asking: alarm.id }); }}>${t('ack')}</button>`}
      </div>
    </div>
  </li>`;
}

/** Alarms of the server's records, newest first, with what the stream has told since. */
function useRecent(wanted) {
  const [told, setTold] = useState(null);
  useEffect(() => {
    if (!wanted) return undefined;
    let current = true;
    fetchRecentAlarms(RECENT).then((alarms) => current && setTold({ alarms }), (error) => {
      if (!error.words) throw error;
      if (current) setTold({ alarms: [], words: error.words });
    });
    return () => { current = false; };
  }, [wanted, state.link.status]);
  if (!wanted || !told) return { rows: [], loading: wanted, words: null };
  const merged = new Map(told.alarms.map((alarm) => [alarm.id, alarm]));
  for (const alarm of [...state.closed, ...state.alarms.values()]) merged.set(alarm.id, alarm);
  return { rows: [...merged.values()].sort((a, b) => b.began_ms - a.began_ms), loading: false, words: told.words };
}

/** Arrow keys, Home and End move among rows; Enter opens the device; A asks for acknowledgement. */
function onKey(event, rows, index, go) {
  const alarm = rows[index];
  const moves = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: rows.length - 1 };
  if (event.key in moves) {
    go(Math.max(0, Math.min(rows.length - 1, moves[event.key])));
  } else if (event.key === 'Enter' && event.target.tagName !== 'BUTTON' && alarm) {
    openAlarm(alarm);
  } else if (event.key.toLowerCase() === 'r' && !event.ctrlKey && !event.metaKey && alarm) {
    set({ reading: alarm.id });
  } else if (event.key.toLowerCase() === 'a' && !event.ctrlKey && !event.metaKey && alarm && canAcknowledge(alarm)) {
    set({ asking: alarm.id });
  } else {
    return;
  }
  event.preventDefault();
}

export function AlarmList() {
  const [view, setView] = useState('open');
  const recent = view === 'recent';
  const [shown, setShown] = useState(ROWS);
  const [at, setAt] = useState(null);
  const list = useRef(null);
  const records = useRecent(recent);
  const open = inOrder(openAlarms());
  const held = inOrder([...state.alarms.values()].filter(isHeld));
  const all = { open, held, recent: records.rows, incidents: [] }[view];
  const sweepable = open.filter((alarm) => canAcknowledge(alarm) && isUnseen(alarm) && alarm.worst !== 'red' && alarm.severity !== 'red');
  const rows = all.slice(0, shown);
  const index = Math.max(0, rows.findIndex((alarm) => alarm.id === at));
  const lost = state.link.status === 'lost';
  const go = (to) => {
    setAt(rows[to]?.id ?? null);
    list.current?.children[to]?.focus();
  };
  const counts = countBySeverity(open);
  return html`<section class="alarms ${lost ? 'frozen' : ''}" aria-label=${t('alarms')}>
    <header>
      <h2>${t('alarms')}</h2>
      <div class="switch" role="group" aria-label=${t('alarms')}>
        <button aria-pressed=${view === 'open'} onClick=${() => setView('open')}>${t('alarms.open')} ${open.length}</button>
        <button aria-pressed=${view === 'held'} onClick=${() => setView('held')}>${t('alarms.held')} ${held.length}</button>
        <button aria-pressed=${recent} onClick=${() => setView('recent')}>${t('alarms.recent')}</button>
        <button aria-pressed=${view === 'incidents'} data-view="incidents" onClick=${() => setView('incidents')}>${t('incident')} ${state.incidents.length + state.outside.length}</button>
      </div>
      <span class="keys">${t('alarms.keys')}</span>
      ${view === 'open' && sweepable.length > 1 && html`<button class="sweep" onClick=${() => set({ sweeping: sweepable })}>${t('sweep', sweepable.length)}</button>`}
    </header>
    ${lost && state.link.heard > 0 && html`<p class="asof">${t('alarms.asof', whenOf(state.link.heard + state.skew, now(), state.lang))}</p>`}
    ${records.words && html`<p class="asof" role="alert">${say(records.words)}</p>`}
    ${view === 'incidents' && html`<${IncidentList} />`}
    <ol ref=${list} onKeyDown=${(event) => onKey(event, rows, index, go)}>
      ${rows.map((alarm, i) => html`<${AlarmRow} key=${alarm.id} alarm=${alarm} current=${i === index} onFocus=${() => setAt(alarm.id)} />`)}
    </ol>
    ${all.length > shown && html`<button class="more" onClick=${() => setShown(shown + ROWS)}>${t('alarms.more', Math.min(ROWS, all.length - shown), all.length)}</button>`}
    ${!rows.length && view !== 'incidents' && html`<${Quiet} recent=${recent} held=${view === 'held'} loading=${records.loading} />`}
    <p class="hidden" role="status">${SEVERITIES.filter((word) => counts[word]).map((word) => `${t(`level.${word}`)}: ${counts[word]}`).join(', ')}</p>
  </section>`;
}

function Quiet({ recent, held, loading }) {
  if (loading || state.link.status === 'connecting') return html`<div class="quiet"><p>${t('alarms.loading')}</p></div>`;
  if (held) return html`<div class="quiet"><p>${t('alarms.none.held')}</p></div>`;
  if (recent) return html`<div class="quiet"><p>${t('alarms.none.recent')}</p></div>`;
  if (state.link.status === 'lost') return null;
  const away = [...state.devices.values()].filter((device) => device.condition !== 'live').length;
  return html`<div class="quiet">
    <svg viewBox="0 0 48 48" aria-hidden="true"><circle cx="24" cy="24" r="20" /><path d="m15 25 6.5 6.5L34 18" /></svg>
    <p>${t('alarms.none')}</p>
    <p class="soft">${t('alarms.none.more')}</p>
    ${away > 0 && html`<p class="soft">${t('places.notlive', away)}</p>`}
  </div>`;
}
