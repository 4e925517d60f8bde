/** The panel of one device: who and where it is, its alarms, what it says now and how old that is, and a chart. */
import { html } from './vendor/htm/standalone.module.js';
import { AlarmRow } from './alarms.js';
import { Chart } from './chart.js';
import { momentOf, sayValue, spanOf } from './format.js';
import { qualityWord, say, t } from './i18n.js';
import { inOrder } from './severity.js';
import { isStale, now, select, set, state } from './store.js';

const NO_METRIC = { kind: 'gauge', unit: '', label: null };
const ALARMS_SHOWN = 6;

/** Metrics the device has told, in the order of its class, then any the class does not know; all of the class if none. */
function metricsOf(device, deviceClass) {
  const known = Object.keys(deviceClass?.metrics ?? {}).filter((name) => device.latest.has(name) || !device.latest.size);
  const others = [...device.latest.keys()].filter((name) => !known.includes(name));
  return [...known, ...others].map((name) => ({
    name, metric: deviceClass?.metrics?.[name] ?? { ...NO_METRIC, label: { zh: name, en: name } },
  }));
}

/** The metric to draw: the one chosen, else that of the worst alarm, else the first number. */
function metricShown(metrics, alarms) {
  const has = (name) => metrics.find((one) => one.name === name);
  return has(state.metric) ?? has(alarms[0]?.metric) ?? metrics.find((one) => one.metric.kind === 'gauge') ?? metrics[0];
}

function ValueRow({ device, name, metric, chosen }) {
  const sample = device.latest.get(name) ?? { value: null, time: null, quality: 0, good: null };
  const stale = state.link.status === 'lost' || isStale(device, sample.time);
  const { text, unit } = sayValue(metric, sample.value, state.lang);
  const good = sample.quality === 0;
  const last = sample.value === null && sample.good
    ? sayValue(metric, sample.good.value, state.lang) : null;
  return html`<tr class="${stale ? 'old' : ''} ${good ? '' : 'doubt'}" data-metric=${name}>
    <th scope="row"><button aria-pressed=${chosen} onClick=${() => set({ metric: name })}>${say(metric.label)}</button></th>
    <td class="value"><b>${text}</b> <i>${unit}</i>${last && html`<small>${t('device.last', `${last.text} ${last.unit}`)}</small>`}</td>
    <td class="quality">${good ? '' : html`<span>${qualityWord(sample.quality)}</span>`}</td>
    <td class="age">${sample.time === null ? '' : spanOf(now() - sample.time, state.lang)}</td>
  </tr>`;
}

/** The device's board in Grafana, in the reader's language; its name is fixed by dashboards/look.py. */
const boardOf = (device) =>
  `${state.boards}/d/yemai-${state.lang === 'zh' ? 'zh' : 'en'}-device-${device.class}?var-device=${encodeURIComponent(device.id)}`;

export function DevicePanel({ id, spotlight = false }) {
  const device = state.devices.get(id);
  const close = html`<button class="close" aria-label=${t('device.close')} onClick=${() => select(null)}>✕</button>`;
  if (!device) return html`<section class="device"><header>${close}<h2>${id}</h2></header><p class="soft">${t('device.unknown')}</p></section>`;
  const deviceClass = state.classes[device.class];
  const site = state.sites.get(device.site);
  const agent = state.agents.get(device.agent);
  const alarms = inOrder([...state.alarms.values()].filter((alarm) => alarm.device === id));
  const metrics = metricsOf(device, deviceClass);
  const shown = metricShown(metrics, alarms);
  const facts = [
    ['device.class', say(deviceClass?.label ?? device.class)],
    ['device.site', site ? [say(site.name), say(site.street ?? '')].filter(Boolean).join(' · ') : device.site],
    ['device.profile', device.profile],
    ['device.agent', agent && agent.online === false ? `${device.agent}（${t('device.offline')}）` : device.agent],
    ['device.owner', say(device.owner ?? '')],
    ['device.heard', device.heard === null ? t('device.never')
      : `${momentOf(device.heard, state.lang)} · ${t('alarm.ago', spanOf(now() - device.heard, state.lang))}`],
  ].filter(([, words]) => words);
  return html`<section class="device" aria-label=${say(device.name)} data-device=${id}>
    <header>
      ${!spotlight && close}
      ${spotlight && html`<p class="soft">${t('device.spotlight')}</p>`}
      <h2>${say(device.name)}</h2>
      ${state.boards && html`<p><a class="board" target="_blank" rel="noopener" href=${boardOf(device)}>${t('device.boards')}</a></p>`}
      <p class="id">${id} <span class="condition ${device.condition}">${t(`condition.${device.condition}`)}</span></p>
    </header>
    ${alarms.length > 0 && html`<ol class="mini">${alarms.slice(0, ALARMS_SHOWN).map((alarm) => html`<${AlarmRow} key=${alarm.id} alarm=${alarm} current=${true}
      onFocus=${() => set({})} />`)}</ol>`}
    ${shown && html`<${Chart} device=${device} name=${shown.name} metric=${shown.metric} />`}
    ${metrics.length > 0 && html`<table class="values" aria-label=${t('device.values')}><tbody>
      ${metrics.map(({ name, metric }) => html`<${ValueRow} key=${name} device=${device} name=${name} metric=${metric} chosen=${name === shown?.name} />`)}
    </tbody></table>`}
    <dl class="about">${facts.map(([key, words]) => html`<div key=${key}><dt>${t(key)}</dt><dd>${words}</dd></div>`)}</dl>
  </section>`;
}
