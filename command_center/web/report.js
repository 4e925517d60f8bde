/**
 * The report: figures of a span (`?since=2026-11-01&until=2026-11-08&positions=2&site=…&lang=en`; the last seven days
 * unless said otherwise) beside the targets of EEMUA 191, for reading and for printing.
 */
import { html, render } from './vendor/htm/standalone.module.js';

const ZONE = 'Asia/Shanghai';
const DAY_MS = 86_400_000;
const query = new URLSearchParams(location.search);
const lang = query.get('lang') === 'en' ? 'en' : 'zh';
const WORDS = {
  title: ['告警绩效报告', 'Report on the alarm desk'],
  short: ['统计期不足 30 天，目标值仅供参考', 'The span is shorter than the thirty days the targets are meant for'],
  positions: ['值守席位', 'Operating positions'],
  since: ['起', 'From'], until: ['止', 'Until'], show: ['查看', 'Show'], print: ['打印', 'Print'], other: ['English', '中文'],
  alarms: ['告警总数', 'Alarms'], measures: ['指标', 'Figures'], figure: ['指标', 'Figure'], value: ['实际', 'Value'],
  target: ['目标', 'Target'], limit: ['限值', 'Limit'], verdict: ['评价', 'Verdict'],
  good: ['✓ 达标', '✓ within the target'], fair: ['△ 超目标', '△ above the target'], poor: ['✕ 超限', '✕ above the limit'], none: ['—', '—'],
  top: ['告警最多的十个来源', 'The ten sources of most alarms'], source: ['来源', 'Source'], count: ['次数', 'Times'],
  share: ['占比', 'Share'], bursts: ['抖动', 'Bursts'], answers: ['确认用时', 'Time to acknowledge'], colour: ['级别', 'Colour'],
  median: ['中位数', 'Median'], p95: ['第 95 百分位', '95th percentile'], waiting: ['未确认', 'Not acknowledged'],
  floods: ['告警泛滥', 'Floods'], nofloods: ['统计期内没有告警泛滥（10 分钟内超过 10 条）。', 'None: never more than ten alarms in ten minutes.'],
  standing: ['持续超过 24 小时的告警：{0} 条', 'Alarms that have stood for more than 24 hours: {0}'],
  csv: ['指标 CSV', 'Figures, CSV'], deliveries: ['通知明细 CSV', 'Deliveries, CSV'], signed: ['通知明细（签名）', 'Deliveries, signed'], failed: ['无法生成报告', 'No report can be made'],
  made: ['生成于 {0}', 'made {0}'], basis: ['目标与限值依据 EEMUA 191 / ISA-18.2，按单个值守席位；只计发生，不计恢复与确认', 'Targets and limits after EEMUA 191 and ISA-18.2 for one position; activations alone are counted'],
  all: ['全部', 'All'], red: ['红 I', 'Red'], orange: ['橙 II', 'Orange'], yellow: ['黄 III', 'Yellow'], blue: ['蓝 IV', 'Blue'],
};
const UNITS = { '1/h': ['/时', '/h'], '1/d': ['/日', '/day'], '%': [' %', ' %'], '1': ['', ''] };
const pick = (pair) => pair[lang === 'zh' ? 0 : 1];
const word = (key, ...more) => more.reduce((words, word, n) => words.replace(`{${n}}`, word), pick(WORDS[key]));
const say = (text) => text[lang];
const number = new Intl.NumberFormat(lang === 'zh' ? 'zh-CN' : 'en', { maximumFractionDigits: 2 });
const moment = new Intl.DateTimeFormat(lang === 'zh' ? 'zh-CN' : 'en-GB', { timeZone: ZONE, dateStyle: 'medium', timeStyle: 'short' });
const dayOf = (ms) => new Intl.DateTimeFormat('sv-SE', { timeZone: ZONE }).format(ms);
const withUnit = (value, unit) => (value === null ? '—' : number.format(value) + pick(UNITS[unit] ?? ['', '']));

function took(seconds) {
  if (seconds === null) return '—';
  if (seconds < 90) return `${number.format(Math.round(seconds))} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 90 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Midnight in the city's zone of a date in the address. */
function at(name, otherwise) {
  const found = Date.parse(`${query.get(name)}T00:00:00+08:00`);
  return Number.isNaN(found) ? otherwise : found;
}

const until = at('until', Date.now());
const since = at('since', until - 7 * DAY_MS);
const asked = new URLSearchParams({ since_ms: since, until_ms: until, positions: query.get('positions') ?? 1 });
for (const site of query.getAll('site')) asked.append('site', site);

function Tools() {
  const other = new URLSearchParams(query);
  other.set('lang', lang === 'zh' ? 'en' : 'zh');
  const table = new URLSearchParams(asked);
  table.set('lang', lang);
  return html`<form class="tools" method="get">
    <label>${word('since')}<input type="date" name="since" value=${dayOf(since)} /></label>
    <label>${word('until')}<input type="date" name="until" value=${dayOf(until)} /></label>
    <label>${word('positions')}<input type="number" name="positions" min="1" max="1000" value=${query.get('positions') ?? 1} /></label>
    <input type="hidden" name="lang" value=${lang} />
    <button>${word('show')}</button>
    <button type="button" onClick=${() => print()}>${word('print')}</button>
    <a href=${`api/figures.csv?${table}`}>${word('csv')}</a>
    <a href=${`api/deliveries.csv?since_ms=${since}&until_ms=${until}`}>${word('deliveries')}</a>
    <a href=${`api/deliveries.signed?since_ms=${since}&until_ms=${until}`}>${word('signed')}</a>
    <a href=${`?${other}`} lang=${lang === 'zh' ? 'en' : 'zh'}>${word('other')}</a>
  </form>`;
}

function Measures({ report, names }) {
  return html`<h2>${word('measures')}</h2><div class="wide"><table>
    <thead><tr><th>${word('figure')}</th><th class="n">${word('value')}</th><th class="n">${word('target')}</th><th class="n">${word('limit')}</th><th>${word('verdict')}</th></tr></thead>
    <tbody>${report.measures.map((one) => html`<tr key=${one.name}>
      <td>${say(names[one.name])}</td><td class="n">${withUnit(one.value, one.unit)}</td>
      <td class="n">${one.target === null ? '—' : number.format(one.target)}</td><td class="n">${one.limit === null ? '—' : number.format(one.limit)}</td>
      <td class=${one.verdict}>${word(one.verdict)}</td></tr>`)}</tbody></table></div>`;
}

function Top({ report, devices }) {
  if (!report.top.length) return null;
  const most = report.top[0].alarms;
  return html`<h2>${word('top')}</h2><div class="wide"><table>
    <thead><tr><th>${word('source')}</th><th class="n">${word('count')}</th><th class="n">${word('share')}</th><th class="n">${word('bursts')}</th><th class="wide-only"></th></tr></thead>
    <tbody>${report.top.map((one) => html`<tr key=${one.device + one.rule}>
      <td class="name">${say(one.title)} · ${devices[one.device] ? say(devices[one.device]) : one.device}<br /><span class="soft">${one.device} · ${one.rule}</span></td>
      <td class="n">${number.format(one.alarms)}</td><td class="n">${number.format(100 * one.share)} %</td><td class="n">${one.chattering}</td>
      <td class="wide-only" style=${{ width: '25%' }}><span class="bar" style=${{ width: `${(100 * one.alarms) / most}%` }}></span></td></tr>`)}</tbody></table></div>`;
}

function Answers({ report }) {
  return html`<h2>${word('answers')}</h2><div class="wide"><table>
    <thead><tr><th>${word('colour')}</th><th class="n">${word('alarms')}</th><th class="n">${word('median')}</th><th class="n">${word('p95')}</th><th class="n">${word('waiting')}</th></tr></thead>
    <tbody>${Object.entries(report.answers).map(([colour, one]) => html`<tr key=${colour}>
      <td>${word(colour)}</td><td class="n">${number.format(one.alarms)}</td><td class="n">${took(one.median_s)}</td><td class="n">${took(one.p95_s)}</td>
      <td class="n">${number.format(one.waiting)}</td></tr>`)}</tbody></table></div>`;
}

function Floods({ report }) {
  return html`<h2>${word('floods')}</h2>${report.floods.length === 0
    ? html`<p>${word('nofloods')}</p>`
    : html`<ul>${report.floods.map((one) => html`<li key=${one.begin_ms}>${moment.format(one.begin_ms)} – ${moment.format(one.end_ms)}: <b>${number.format(one.alarms)}</b></li>`)}</ul>`}
    <p>${word('standing', report.standing.length)}</p>`;
}

function Report({ report, names, devices, title }) {
  return html`<header><p class="soft">${say(title)}</p><h1>${word('title')}</h1>
      <p>${moment.format(report.since_ms)} – ${moment.format(report.until_ms)} · ${word('positions')} ${report.positions} · <span class="soft">${word('made', moment.format(Date.now()))}</span></p></header>
    <${Tools} />
    <ul class="sums"><li>${word('alarms')}<b>${number.format(report.alarms)}</b></li>
      ${Object.entries(report.by_colour).map(([colour, count]) => html`<li key=${colour}>${word(colour)}<b>${number.format(count)}</b></li>`)}</ul>
    <${Measures} report=${report} names=${names} />
    <p class="soft">${word('basis')}${report.short ? html`<br />${word('short')}` : null}</p>
    <${Top} report=${report} devices=${devices} /><${Answers} report=${report} /><${Floods} report=${report} />`;
}

async function show() {
  document.documentElement.lang = lang === 'zh' ? 'zh-CN' : 'en';
  document.title = word('title');
  const page = document.getElementById('report');
  try {
    const answer = await fetch(`api/figures?${asked}`);
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error?.[lang] ?? answer.status);
    render(html`<${Report} ...${told} />`, page);
  } catch (error) {
    render(html`<h1>${word('title')}</h1><${Tools} /><p class="problem" role="alert">✕ ${word('failed')}: ${error.message}</p>`, page);
  }
}

show();
