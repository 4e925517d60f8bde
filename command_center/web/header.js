/** The head of the page: title, clock, open alarms by level, health of the chain, sound and language. */
import { html } from './vendor/htm/standalone.module.js';
import { clockOf, dateOf, spanOf } from './format.js';
import { say, setLanguage, t } from './i18n.js';
import { Mark } from './mark.js';
import { may } from './person.js';
import { countBySeverity, SEVERITIES } from './severity.js';
import { toggleSound } from './sound.js';
import { changed, isUnseen, now, openAlarms, set, state } from './store.js';

const DATA_LATE_MS = 15_000;
const FEED_LATE_MS = 60_000; // standing alarms are re-asserted every 20 s

/** One sign of health: a tick or a cross, the thing, and a word; never colour. */
function Sign({ name, ok, words }) {
  return html`<li class=${ok ? 'ok' : 'bad'}><span aria-hidden="true">${ok ? '✓' : '✕'}</span> ${name} <b>${words}</b></li>`;
}

function Health() {
  const { health, link, lang } = state;
  const live = link.status === 'live';
  const age = (ms) => (ms ? t('alarm.ago', spanOf(now() - ms, lang)) : t('health.never'));
  const agents = [...state.agents.values()];
  const online = agents.filter((agent) => agent.online).length;
  const devices = [...state.devices.values()];
  const alive = devices.filter((device) => device.condition === 'live').length;
  const feedDue = [...state.alarms.values()].some((alarm) => alarm.ended_ms === null); // only standing alarms are asserted again
  const feedLate = health?.feed ? now() - health.feed > FEED_LATE_MS : true;
  return html`<ul class="health">
    <${Sign} name=${t('health.link')} ok=${live} words=${t(live ? 'health.live' : 'health.lost')} />
    ${health && live && html`
      <${Sign} name=${t('health.broker')} ok=${health.broker} words=${t(health.broker ? 'health.ok' : 'health.down')} />
      ${health.desk === false && html`<${Sign} name=${t('health.desk')} ok=${false} words=${t('health.down')} />`}
      <${Sign} name=${t('health.data')} ok=${health.data && now() - health.data < DATA_LATE_MS} words=${age(health.data)} />
      <${Sign} name=${t('health.feed')} ok=${health.broker && !(feedDue && feedLate)} words=${health.feed ? age(health.feed) : t('health.quiet')} />`}
    ${agents.length > 0 && html`<${Sign} name=${t('health.agents')} ok=${live && online === agents.length} words=${`${online}/${agents.length}`} />`}
    ${devices.length > 0 && html`<${Sign} name=${t('health.devices')} ok=${live && alive === devices.length} words=${`${live ? alive : '—'}/${devices.length}`} />`}
  </ul>`;
}

function Counts() {
  const alarms = openAlarms();
  const all = countBySeverity(alarms);
  const unseen = countBySeverity(alarms.filter(isUnseen));
  return html`<ul class="counts ${state.link.status === 'lost' ? 'frozen' : ''}" aria-label=${t('alarms.open')}>
    ${SEVERITIES.map((word) => html`<li key=${word} class="${word} ${all[word] ? 'some' : 'none'}"
        aria-label=${`${t(`level.${word}`)}: ${all[word]}, ${t('state.unacknowledged')} ${unseen[word]}`}>
      <${Mark} severity=${word} hollow=${!unseen[word]} /><span class="word">${t(`color.${word}`)}</span><b>${all[word]}</b>
      ${unseen[word] > 0 && html`<small>${t('count.unseen', unseen[word])}</small>`}
    </li>`)}
  </ul>`;
}

export function Header() {
  const other = state.lang === 'zh' ? 'en' : 'zh';
  return html`<header class="head">
    <h1>${say(state.title)}</h1>
    <${Counts} />
    <${Health} />
    <div class="tools">
      <button class="sound ${state.sound}" aria-pressed=${state.sound === 'on'} onClick=${toggleSound}>${t(`sound.${state.sound}`)}</button>
      ${may('figures.read') && html`<a class="report" href=${`report.html?lang=${state.lang}`} target="_blank" rel="noopener">${t('report')}</a>`}
      <button class="account" onClick=${() => set({ account: true })}>${state.me.person.name.replace(/^wall:/, `${t('role.wall')} `)}</button>
      <button lang=${other} onClick=${() => { setLanguage(other); changed(); }}>${t('language')}</button>
    </div>
    <time class="clock"><b>${clockOf(now(), state.lang)}</b><span>${dateOf(now(), state.lang)} UTC+8</span></time>
  </header>`;
}

/** Says that more comes than people can answer, and how they are told meanwhile. */
function Flood() {
  const flood = state.health?.flood;
  return flood ? html`<div class="banner soft flood" role="status"><b>${t('flood')}</b> <span>${t('flood.so', flood.alarms, clockOf(flood.since_ms, state.lang))}</span></div>` : null;
}

/** Says that there are more alarms than the page holds. */
function Capped() {
  return state.open > state.loaded ? html`<div class="banner soft capped" role="status"><b>${t('capped')}</b> <span>${t('capped.so', state.open, state.loaded)}</span></div>` : null;
}

/** Full-width words while the screen is not live, or is and nothing can be kept. */
export function LostBanner() {
  const { status, since } = state.link;
  if (status === 'live') {
    if (state.health?.desk === false) {
      return html`<div class="banner lost"><b role="alert">✕ ${t('away')}</b> <span>${t('away.so')}</span></div>`;
    }
    return html`<${Flood} /><${Capped} />`;
  }
  if (status === 'connecting') return html`<div class="banner soft" role="status">${t('connecting')}</div>`;
  return html`<div class="banner lost"><b role="alert">✕ ${t('lost')}</b> <span>${t('lost.since', clockOf(since + state.skew, state.lang), spanOf(Date.now() - since, state.lang))}</span></div>`;
}
