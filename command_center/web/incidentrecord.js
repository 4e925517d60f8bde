/** One incident in full: how far it has come, its alarms and why they belong, plans, cameras, warnings, one timeline. */
import { html, useEffect, useRef, useState } from './vendor/htm/standalone.module.js';
import { doIncident, doWarning, fetchIncident } from './api.js';
import { clockOf, momentOf, spanOf } from './format.js';
import { say, t } from './i18n.js';
import { Fields, placeOf, refreshIncidents } from './incidents.js';
import { Mark } from './mark.js';
import { may } from './person.js';
import { PlanRun } from './planrun.js';
import { now, set, state } from './store.js';

const STEPS = ['alarm', 'incident', 'plan', 'linkage', 'readback', 'notice', 'acknowledgement', 'returned', 'closed'];

/** When each step was first reached, UTC ms. */
function stepsOf(timeline) {
  const reached = new Map();
  for (const moment of timeline) {
    const step = moment.kind === 'action.verified' ? 'readback' : moment.stage;
    if (moment.kind !== 'plan.none' && !reached.has(step)) reached.set(step, moment.at_ms);
  }
  return reached;
}

function Steps({ timeline }) {
  const reached = stepsOf(timeline);
  return html`<ol class="steps" aria-label=${t('incident.steps')}>${STEPS.map((step) => html`<li key=${step} class=${reached.has(step) ? 'reached' : ''}>
    <b>${reached.has(step) ? '✓ ' : '○ '}${t(`step.${step}`)}</b><time>${reached.has(step) ? clockOf(reached.get(step), state.lang) : '—'}</time></li>`)}</ol>`;
}

export function IncidentRecord() {
  return state.incident ? html`<${Record} key=${state.incident} id=${state.incident} />` : null;
}

function Record({ id }) {
  const dialog = useRef(null);
  const [told, setTold] = useState(null);
  const [words, setWords] = useState(null);
  const leave = () => set({ incident: null });
  const fail = (error) => {
    if (!error.words) throw error;
    setWords(say(error.words));
  };
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.focus?.();
  }, []);
  useEffect(() => {
    const wait = setTimeout(() => fetchIncident(id).then((found) => { setTold(found); setWords(null); }, fail), told ? 300 : 0);
    return () => clearTimeout(wait);
  }, [id, state.told]);
  return html`<dialog ref=${dialog} class="ackdialog record incidentrecord" aria-labelledby="incident-title" onClose=${leave}>
    <header><h2 id="incident-title">${t('incident')}</h2>
      <button class="close" aria-label=${t('ack.cancel')} onClick=${leave}>✕</button></header>
    ${words && html`<p class="warn" role="alert">${words}</p>`}
    ${!told && !words && html`<p class="soft">${t('record.loading')}</p>`}
    ${told && html`<${Whole} told=${told} />`}
  </dialog>`;
}

function Whole({ told }) {
  const timeline = [...told.timeline].reverse();
  return html`<div class="subject"><${Mark} severity=${told.severity} />
      <div><b>${t(`level.${told.severity}`)}　${say(told.title)}</b> <${Fields} incident=${told} />
        <p>${placeOf(told)}</p>
        <p>${t(`incident.${told.state}`)} · ${t('incident.alarms', told.alarms, told.active_alarms)} · ${momentOf(told.opened_ms, state.lang)}
          ${told.closed_ms ? ` – ${momentOf(told.closed_ms, state.lang)}` : ''}</p></div></div>
    <${Steps} timeline=${told.timeline} />
    <div class="columns"><div class="column">
      <${Warnings} warnings=${told.warnings} />
      ${told.cameras.length > 0 && html`<p class="cameras">${t('incident.cameras')} ${told.cameras.map((camera) => html`<a key=${camera.id} href=${camera.url}
        target="_blank" rel="noreferrer noopener">${say(camera.name)}（${camera.metres} m）</a>`)}</p>`}
      ${told.runs.filter((run) => run.plan).map((run) => html`<${PlanRun} key=${run.run} run=${run} />`)}
      ${told.runs.length > 0 && told.without_plan > 0 && html`<p class="noplan">${t('incident.noplan', told.without_plan)}</p>`}
      <h3>${t('incident.members')}</h3>
      <${Members} told=${told} />
      <${Deeds} told=${told} />
    </div><div class="column">
      <h3>${t('record.history')}</h3>
      <ol class="timeline story">${timeline.map((moment, n) => html`<li key=${n} data-stage=${moment.stage} data-kind=${moment.kind}>
        <time title=${t('alarm.ago', spanOf(now() - moment.at_ms, state.lang))}>${momentOf(moment.at_ms, state.lang)}</time>
        <b>${t(`step.${moment.kind === 'action.verified' ? 'readback' : moment.stage}`)}</b><span>${say(moment.words)}</span></li>`)}</ol>
    </div></div>`;
}

function Members({ told }) {
  return html`<ul class="members">${told.members.map((alarm) => html`<li key=${alarm.id} data-alarm=${alarm.id}>
    <${Mark} severity=${alarm.severity} hollow=${alarm.state !== 'unacknowledged'} />
    <div><button class="plain" onClick=${() => set({ reading: alarm.id, incident: null })}>${say(alarm.device_name)} · ${say(alarm.title)}</button>
      <p class="soft">${say(alarm.why)} · ${t(`state.${alarm.state}`)}</p></div></li>`)}</ul>`;
}

/** Our warnings about this incident: internal until a named person signs. */
function Warnings({ warnings }) {
  const [words, act] = useDeed();
  if (!warnings.length) return null;
  const last = warnings[warnings.length - 1];
  const standing = last.kind !== 'Cancel';
  return html`<section class="warnings"><h3>${t('warning')}</h3>
    ${warnings.map((one) => html`<p key=${one.identifier}>${t(`warning.${one.kind}`)} · ${t(`warning.${one.scope}`)}${one.signed_by ? ` · ${t('warning.signed', one.signed_by)}` : ''}
      <span class="soft"> ${say(one.headline)} · ${momentOf(one.sent_ms, state.lang)} · ${one.identifier}</span></p>`)}
    ${standing && may('cap.sign') && html`<div class="choices">
      ${last.scope !== 'Public' && last.status === 'Actual' && html`<button data-deed="sign" onClick=${() => act(() => doWarning(last.identifier, 'sign', {}))}>${t('warning.sign')}</button>`}
      <button data-deed="cancel" onClick=${() => act(() => doWarning(last.identifier, 'cancel', {}))}>${t('warning.cancel')}</button></div>`}
    ${words && html`<p class="warn" role="alert">${words}</p>`}</section>`;
}

/** Runs a deed; returns the words of what went wrong, and the runner. */
function useDeed() {
  const [words, setWords] = useState(null);
  async function act(deed) {
    try {
      await deed();
      setWords(null);
      set({ told: state.told + 1 });
      refreshIncidents();
      return true;
    } catch (error) {
      if (!error.words) throw error;
      setWords(t('deed.failed', say(error.words)));
      return false;
    }
  }
  return [words, act];
}

function Deeds({ told }) {
  const [kind, setKind] = useState(null);
  const [fields, setFields] = useState({ comment: '', other: '', alarms: [] });
  const [words, act] = useDeed();
  const others = state.incidents.filter((one) => one.state === 'open' && one.id !== told.id)
    .sort((a, b) => told.related.includes(b.id) - told.related.includes(a.id));
  const deeds = ['comment', told.state === 'open' && others.length && 'merge', told.state === 'open' && told.alarms > 1 && 'split',
    told.state === 'open' && !told.open_alarms && 'close'].filter(Boolean);
  const put = (key) => (event) => setFields({ ...fields, [key]: event.target.value });
  const tick = (id) => (event) => setFields({ ...fields, alarms: event.target.checked ? [...fields.alarms, id] : fields.alarms.filter((one) => one !== id) });
  async function submit(event) {
    event.preventDefault();
    const body = { merge: { other: fields.other || others[0]?.id }, split: { alarms: fields.alarms }, close: { comment: fields.comment }, comment: { comment: fields.comment } }[kind];
    if (await act(() => doIncident(told.id, kind, body))) setKind(null);
  }
  return html`<div class="deeds">
    ${told.state === 'open' && told.undone.length > 0 && html`<p class="soft">${t('incident.undone')}${told.undone.map(say).join('；')}</p>`}
    <div class="choices" role="group" aria-label=${t('record.deed')}>${may('incident.edit') && deeds.map((deed) => html`<button key=${deed} type="button" data-deed=${deed}
      aria-pressed=${deed === kind} onClick=${() => setKind(deed === kind ? null : deed)}>${t(`incident.do.${deed}`)}</button>`)}</div>
    ${kind && html`<form onSubmit=${submit} novalidate>
      ${kind === 'merge' && html`<label>${t('incident.other')}<select name="other" value=${fields.other} onChange=${put('other')}>${others.map((one) => html`<option key=${one.id} value=${one.id}>
        ${told.related.includes(one.id) ? '★ ' : ''}${say(one.title)} · ${placeOf(one)}</option>`)}</select></label>`}
      ${kind === 'split' && told.members.map((alarm) => html`<label key=${alarm.id} class="tick"><input type="checkbox" onChange=${tick(alarm.id)} /> ${say(alarm.device_name)} · ${say(alarm.title)}</label>`)}
      ${['close', 'comment'].includes(kind) && html`<label>${t('ack.comment')}<textarea name="comment" rows="2" maxlength="500" value=${fields.comment} onInput=${put('comment')} /></label>`}
      <p class="warn" role="alert">${words}</p>
      <div class="buttons"><button type="submit" class="primary">${t(`incident.do.${kind}`)}</button></div>
    </form>`}
  </div>`;
}
