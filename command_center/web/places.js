/** Sites with their devices: what is not live, what alarms, and a search over everything; the way in without a map. */
import { html, useState } from './vendor/htm/standalone.module.js';
import { spanOf } from './format.js';
import { say, t } from './i18n.js';
import { Mark } from './mark.js';
import { byRank } from './severity.js';
import { now, select, state } from './store.js';

const SHOWN = 120;

function matches(device, words) {
  if (!words) return true;
  const site = state.sites.get(device.site);
  const text = [device.id, device.name?.zh, device.name?.en, device.class, say(state.classes[device.class]?.label ?? ''),
    device.profile, device.agent, site?.name?.zh, site?.name?.en].join(' ').toLowerCase();
  return words.split(/\s+/).every((word) => text.includes(word));
}

const worstFirst = (a, b) => (b.rank ?? 0) - (a.rank ?? 0) || (a.condition === 'live') - (b.condition === 'live')
  || (a.id < b.id ? -1 : 1);

function DeviceLine({ device }) {
  const severity = byRank(device.rank ?? 0);
  const live = device.condition === 'live';
  return html`<li><button class="deviceline ${live ? '' : 'old'}" aria-current=${device.id === state.selected ? 'true' : undefined} onClick=${() => select(device.id)}>
    ${severity ? html`<${Mark} severity=${severity} hollow=${!device.open} />` : html`<i class="dot ${live ? 'live' : 'dead'}"></i>`}
    <span class="name">${say(device.name)}</span>
    <span class="soft">${say(state.classes[device.class]?.label ?? device.class)}</span>
    <span class="age">${live ? '' : `${t(`condition.${device.condition}`)} `}${device.heard === null ? '' : spanOf(now() - device.heard, state.lang)}</span>
  </button></li>`;
}

function SiteGroup({ site, devices }) {
  const away = devices.filter((device) => device.condition !== 'live').length;
  return html`<section class="site">
    <h3>${site ? say(site.name) : '—'} <small>${site && say(site.street ?? '')}</small>
      <span>${t('places.devices', devices.length)}${away ? ` · ${t('places.notlive', away)}` : ''}</span></h3>
    <ul>${devices.map((device) => html`<${DeviceLine} key=${device.id} device=${device} />`)}</ul>
  </section>`;
}

export function Places() {
  const [asked, setAsked] = useState('');
  const words = asked.trim().toLowerCase();
  const found = [...state.devices.values()].filter((device) => matches(device, words)).sort(worstFirst);
  const groups = new Map();
  for (const device of found.slice(0, SHOWN)) {
    if (!groups.has(device.site)) groups.set(device.site, []);
    groups.get(device.site).push(device);
  }
  const loading = state.link.status === 'connecting' && !state.devices.size;
  return html`<section class="places" aria-label=${t('places')}>
    <header><h2>${t('places')}</h2>
      <input type="search" placeholder=${t('places.find')} aria-label=${t('places.find')} value=${asked}
        onInput=${(event) => setAsked(event.target.value)} /></header>
    <div class="scroll">
      ${[...groups].map(([id, devices]) => html`<${SiteGroup} key=${id} site=${state.sites.get(id)} devices=${devices} />`)}
      ${found.length > SHOWN && html`<p class="soft">${t('places.more', found.length - SHOWN)}</p>`}
      ${!found.length && html`<p class="soft">${t(loading ? 'alarms.loading' : 'places.none')}</p>`}
    </div>
  </section>`;
}
