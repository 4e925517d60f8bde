/** The page: lays out header, critical bar, alarms, map and panel, and starts the link to the server. */
import { html, render } from './vendor/htm/standalone.module.js';
import { Account } from './account.js';
import { AckDialog } from './ackdialog.js';
import { BulkDialog } from './bulkdialog.js';
import { AlarmRecord } from './record.js';
import { AlarmList, Reading } from './alarms.js';
import { DevicePanel } from './device.js';
import { Again, Door } from './door.js';
import { whenOf } from './format.js';
import { Header, LostBanner } from './header.js';
import { IncidentRecord } from './incidentrecord.js';
import { firstLanguage, say, setLanguage, t } from './i18n.js';
import { startLink } from './link.js';
import { MapView } from './mapview.js';
import { Mark } from './mark.js';
import { findPerson, may, watchPerson } from './person.js';
import { Places } from './places.js';
import { inOrder } from './severity.js';
import { startSound } from './sound.js';
import { isUnseen, now, openAlarms, select, set, state, useStore } from './store.js';

const TABS = ['alarms', 'map', 'devices'];

/** Red alarms that nobody has acknowledged and that are not from late data. */
const critical = () => inOrder(openAlarms())
  .filter((alarm) => alarm.severity === 'red' && isUnseen(alarm) && !alarm.ended_ms && !alarm.retrospective);

/** A bar over the whole width, and an edge around the page, while a red alarm waits for a person. */
function CriticalBar() {
  const waiting = critical();
  if (!waiting.length) return null;
  const [alarm] = waiting;
  const site = state.sites.get(alarm.site);
  return html`<div class="critical">
    <div class="edge ${state.link.status === 'lost' ? 'still' : ''}" aria-hidden="true"><i /><i /><i /><i /></div>
    <div class="bar" role="alert" data-alarm=${alarm.id}>
      <${Mark} severity="red" />
      <b>${t('level.red')}</b>
      <button class="words" onClick=${() => select(alarm.device, alarm.metric)}>
        <span class="title">${say(alarm.title)}</span>
        <span>${[say(alarm.device_name), site && say(site.name)].filter(Boolean).join(' · ')}</span>
      </button>
      <${Reading} alarm=${alarm} />
      <time>${whenOf(alarm.began_ms, now(), state.lang)}</time>
      ${waiting.length > 1 && html`<span class="others">+${waiting.length - 1}</span>`}
      ${may('alarm.acknowledge') && html`<button class="ack" onClick=${() => set({ asking: alarm.id })}>${t('ack')}</button>`}
    </div>
  </div>`;
}

/** The device chosen; on a wall, where nobody chooses, the device of the worst alarm; else all sites. */
function Panel() {
  if (state.selected) return html`<${DevicePanel} id=${state.selected} />`;
  const wall = matchMedia('(min-width: 2560px)').matches;
  const [worst] = wall ? inOrder(openAlarms()) : [];
  return worst ? html`<${DevicePanel} id=${worst.device} spotlight=${true} />` : html`<${Places} />`;
}

function Tabs() {
  return html`<nav class="tabs">${TABS.map((tab) => html`<button key=${tab} aria-current=${state.tab === tab ? 'page' : undefined}
    onClick=${() => set({ tab })}>${t(`tab.${tab}`)}${tab === 'alarms' && openAlarms().length > 0 ? html` <b>${openAlarms().length}</b>` : ''}</button>`)}</nav>`;
}

function Page() {
  useStore();
  if (!state.me) return state.me === null || state.door.words ? html`<${Door} />` : null;
  if (!may('read')) return html`<div class="page"><${Account} /><${Again} /></div>`;
  begin();
  const count = openAlarms().length;
  const title = `${count ? `(${count}) ` : ''}${say(state.title)}`;
  if (document.title !== title) document.title = title;
  return html`<div class="page" data-tab=${state.tab} data-link=${state.link.status}>
    <${Header} />
    <div class="bars"><${LostBanner} /><${CriticalBar} /></div>
    <main>
      <${AlarmList} />
      <${MapView} />
      <div class="panel"><${Panel} /></div>
    </main>
    <${Tabs} />
    <${AlarmRecord} />
    <${IncidentRecord} />
    <${BulkDialog} />
    <${AckDialog} />
    <${Account} />
    <${Again} />
  </div>`;
}

let begun = false;
/** Sound and stream, once somebody is signed in who may look on. */
function begin() {
  if (begun) return;
  begun = true;
  startSound();
  startLink();
}

setLanguage(firstLanguage());
document.addEventListener('keydown', (event) => {
  const idle = document.activeElement === document.body;
  if (idle && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) {
    document.querySelector('.alarms li[tabindex="0"]')?.focus();
    event.preventDefault();
  }
  if (event.key === 'Escape' && !state.asking && !state.reading && !state.incident && !state.sweeping && state.selected) select(null);
});
render(html`<${Page} />`, document.getElementById('page'));
watchPerson();
findPerson();
