/** Incidents: the list beside the alarms, and warnings from outside above it. */
import { html, useEffect } from './vendor/htm/standalone.module.js';
import { fetchIncidents, fetchOutside } from './api.js';
import { spanOf, whenOf } from './format.js';
import { say, t } from './i18n.js';
import { Mark } from './mark.js';
import { now, set, state } from './store.js';

let asked = 0;
let running = false;

/** Read the list anew; many news at once are one reading. */
export async function refreshIncidents() {
  asked += 1;
  if (running) return;
  running = true;
  try {
    for (let mine = -1; mine !== asked;) {
      mine = asked;
      const [incidents, outside] = await Promise.all([fetchIncidents(), fetchOutside()]);
      set({ incidents, outside });
      if (mine !== asked) await new Promise((go) => setTimeout(go, 1000));
    }
  } catch (error) {
    if (!error.words) throw error; // without the server the whole page says so
  } finally {
    running = false;
  }
}

/** District, street, site or device: the last of the way that has a name. */
export function placeOf(incident) {
  const words = incident.place.map((step) => {
    if (step.level === 'device') return say(state.devices.get(step.id)?.name ?? step.id);
    return step.level === 'site' ? say(state.sites.get(step.id)?.name ?? step.id) : step.id;
  });
  return words.filter(Boolean).slice(-2).join(' · ') || t('incident.scattered');
}

/** The three fields that never stand for each other: colour, event class, response level. */
export function Fields({ incident }) {
  return html`<span class="category">${t(`category.${incident.category}`)}</span>
    ${incident.response && html`<span class="category">${t('plan.response', incident.response)}</span>`}
    ${incident.without_plan > 0 && html`<span class="category dashed">${t('incident.noplan', incident.without_plan)}</span>`}`;
}

function IncidentRow({ incident }) {
  const open = incident.state === 'open';
  const open_it = () => set({ incident: incident.id });
  return html`<li class="alarm incident ${incident.severity} ${open && incident.active_alarms ? 'unacknowledged' : 'acknowledged'}" data-incident=${incident.id}
      tabindex="0" onClick=${open_it} onKeyDown=${(event) => { if (event.key === 'Enter') open_it(); }}
      aria-label=${`${t(`level.${incident.severity}`)}, ${t(`incident.${incident.state}`)}, ${say(incident.title)}`}>
    <div class="level"><${Mark} severity=${incident.severity} hollow=${!incident.active_alarms} /><span>${t(`color.${incident.severity}`)}</span></div>
    <div class="what">
      <p class="title">${say(incident.title)}<${Fields} incident=${incident} /></p>
      <p class="place">${placeOf(incident)}</p>
      <p class="facts"><b>${t('incident.alarms', incident.alarms, incident.active_alarms)}</b>
        <time>${whenOf(incident.opened_ms, now(), state.lang)} · ${t('alarm.ago', spanOf(now() - incident.opened_ms, state.lang))}</time></p>
    </div>
    <div class="deed"><span class="state">${t(open && !incident.open_alarms ? 'incident.settling' : `incident.${incident.state}`)}</span></div>
  </li>`;
}

export function IncidentList() {
  useEffect(() => { refreshIncidents(); }, [state.link.status]);
  const { incidents, outside } = state;
  return html`<div class="incidents">
    ${outside.length > 0 && html`<ul class="outside" aria-label=${t('outside')}>${outside.map((one) => html`<li key=${one.id}>
      <b>${t('outside')}</b> <span>${headOf(one)}</span> <span class="soft">${one.sender} · ${t('outside.until', whenOf(one.until_ms, now(), state.lang))}</span></li>`)}</ul>`}
    <ol>${incidents.map((incident) => html`<${IncidentRow} key=${incident.id} incident=${incident} />`)}</ol>
    ${!incidents.length && html`<div class="quiet"><p>${t('incident.none')}</p></div>`}
  </div>`;
}

/** What a warning from outside says in the reader's language, else in the first it has; `status` other than Actual is said. */
function headOf(one) {
  const infos = one.infos ?? [];
  const info = infos.find(({ language }) => language.toLowerCase().startsWith(state.lang)) ?? infos[0];
  const words = info?.headline || info?.event || one.identifier;
  return one.status === 'Actual' ? words : `[${one.status}] ${words}`;
}
