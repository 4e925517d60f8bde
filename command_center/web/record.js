/** One alarm in full: its three regions, what a person may do now, and everything that happened, as one timeline. */
import { html, useEffect, useRef, useState } from './vendor/htm/standalone.module.js';
import { canAcknowledge, Reading } from './alarms.js';
import { doDeed, fetchAlarm, sendAgain } from './api.js';
import { momentOf, numberOf, spanOf, unitOf } from './format.js';
import { say, t } from './i18n.js';
import { Mark } from './mark.js';
import { may } from './person.js';
import { PlanRun } from './planrun.js';
import { now, set, state, takeAlarm } from './store.js';

const REASONED = ['shelve', 'withdraw'];
const MINUTES = { shelve: [15, 60, 480, 1440], withdraw: [60, 480, 1440] };

const NEEDED = {
  acknowledge: 'alarm.acknowledge', take_back: 'alarm.acknowledge', reset: 'alarm.acknowledge', assign: 'alarm.assign',
  comment: 'alarm.comment', shelve: 'alarm.shelve', unshelve: 'alarm.shelve', withdraw: 'device.withdraw', restore: 'device.withdraw',
};

/** What may be done to an alarm as it stands, in the order of the buttons. */
function deedsOf(alarm) {
  const open = alarm.state !== 'closed';
  return [
    canAcknowledge(alarm) && 'acknowledge',
    alarm.state === 'latched_acknowledged' && 'reset',
    open && 'assign',
    'comment',
    open && alarm.suppression !== 'shelved' && alarm.suppression !== 'out_of_service' && 'shelve',
    alarm.suppression === 'shelved' && 'unshelve',
    open && alarm.suppression !== 'out_of_service' && 'withdraw',
    alarm.suppression === 'out_of_service' && 'restore',
    open && alarm.acknowledged_by && 'take_back',
  ].filter((deed) => deed && may(NEEDED[deed]));
}

export function AlarmRecord() {
  return state.reading ? html`<${Record} key=${state.reading} id=${state.reading} />` : null;
}

function Record({ id }) {
  const dialog = useRef(null);
  const [told, setTold] = useState(null);
  const [words, setWords] = useState(null);
  const alarm = state.alarms.get(id) ?? told;
  const leave = () => set({ reading: null });
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.focus?.();
  }, []);
  useEffect(() => {
    fetchAlarm(id).then(setTold, (error) => {
      if (!error.words) throw error;
      setWords(say(error.words));
    });
  }, [id, alarm?.version, state.notices]);
  const site = alarm && state.sites.get(alarm.site);
  const { cause, consequence, advice } = alarm?.guidance ?? {};
  const reasons = Object.entries({ because: alarm?.because, cause, consequence, advice }).filter(([, words]) => words);
  return html`<dialog ref=${dialog} class="ackdialog record" aria-labelledby="record-title" onClose=${leave}>
    <header><h2 id="record-title">${t('record.title')}</h2>
      <button class="close" aria-label=${t('ack.cancel')} onClick=${leave}>✕</button></header>
    ${alarm && html`<div class="subject"><${Mark} severity=${alarm.severity} />
      <div><b>${t(`level.${alarm.severity}`)}　${say(alarm.title)}</b>
        <p>${[say(alarm.device_name ?? alarm.device), site && say(site.name)].filter(Boolean).join(' · ')}</p>
        <p><${Reading} alarm=${alarm} /> ${t('alarm.began', momentOf(alarm.began_ms, state.lang))}</p>
        <p>${t('record.three', t(`condition.${alarm.condition ?? (alarm.ended_ms ? 'returned' : 'active')}`),
          t(alarm.acknowledged_by ? 'seen.yes' : 'seen.no'), t(`suppression.${alarm.suppression ?? 'none'}`))}</p></div></div>
      <${Deeds} alarm=${alarm} />`}
    ${words && html`<p class="warn" role="alert">${words}</p>`}
    ${told?.incident && html`<p><button class="plain" onClick=${() => set({ incident: told.incident, reading: null })}>${t('incident.of')} →</button></p>`}
    ${reasons.length > 0 && html`<dl class="guidance">${reasons
      .map(([key, words]) => html`<dt key=${key}>${t(`record.${key}`)}</dt><dd>${say(words)}</dd>`)}</dl>`}
    ${told?.run && html`<${PlanRun} run=${told.run} />`}
    ${told?.notices?.length > 0 && html`<h3>${t('record.told')}</h3><${Notices} notices=${told.notices} refused=${(words) => setWords(say(words))} />`}
    <h3>${t('record.history')}</h3>
    ${told ? html`<${Timeline} told=${told} />` : !words && html`<p class="soft">${t('record.loading')}</p>`}
  </dialog>`;
}

function Deeds({ alarm }) {
  const [kind, setKind] = useState(null);
  const [fields, setFields] = useState({ comment: '', to: '', minutes: '15' });
  const [words, setWords] = useState(null);
  const [sending, setSending] = useState(false);
  const put = (key) => (event) => setFields({ ...fields, [key]: event.target.value });
  const choose = (deed) => {
    setKind(deed === kind ? null : deed);
    setWords(null);
    setFields({ ...fields, comment: '', to: state.me.person.name, minutes: deed === 'withdraw' ? '60' : '15' });
  };
  async function submit(event) {
    event.preventDefault();
    if (sending) return;
    setSending(true);
    setWords(null);
    const body = { comment: fields.comment.trim(), version: alarm.version };
    if (kind === 'assign') body.to = fields.to.trim();
    if (REASONED.includes(kind)) {
      if (fields.minutes === 'resolved') body.until_resolved = true;
      else body.until_ms = Math.round(now()) + Number(fields.minutes) * 60_000;
    }
    try {
      const after = await doDeed(alarm.id, kind, body);
      takeAlarm(after);
      setKind(null);
    } catch (error) {
      if (!error.words) throw error;
      setWords(t('deed.failed', say(error.words)));
    }
    setSending(false);
  }
  const spans = MINUTES[kind] ?? [];
  return html`<div class="deeds">
    <div class="choices" role="group" aria-label=${t('record.deed')}>${deedsOf(alarm).map((deed) => html`<button key=${deed} type="button"
      aria-pressed=${deed === kind} data-deed=${deed} onClick=${() => choose(deed)}>${t(`deed.${deed}`)}</button>`)}</div>
    ${kind && html`<form onSubmit=${submit} novalidate>
      ${kind === 'assign' && html`<label>${t('deed.to')}<input name="to" maxlength="64" value=${fields.to} onInput=${put('to')} /></label>`}
      ${spans.length > 0 && html`<label>${t('deed.for')}<select name="minutes" value=${fields.minutes} onChange=${put('minutes')}>
        ${spans.map((minutes) => html`<option key=${minutes} value=${String(minutes)}>${t(`deed.for.${minutes}`)}</option>`)}
        ${kind === 'shelve' && html`<option value="resolved">${t('deed.for.resolved')}</option>`}</select></label>`}
      <label>${t(REASONED.includes(kind) ? 'deed.reason' : 'ack.comment')}<textarea name="comment" rows="2" maxlength="500"
        value=${fields.comment} onInput=${put('comment')} /></label>
      <p class="warn" role="alert">${words}</p>
      <div class="buttons"><button type="submit" class="primary" disabled=${sending}>${t(`deed.${kind}`)}</button></div>
    </form>`}
  </div>`;
}

/** Who was told or will be, by what, and what proves it: "accepted" is never shown as "delivered". */
function Notices({ notices, refused }) {
  const again = (notice) => sendAgain(notice.id).catch((error) => {
    if (!error.words) throw error;
    refused(error.words);
  });
  return html`<ol class="timeline notices">${notices.map((notice) => html`<li key=${notice.id} data-state=${notice.state}>
    <time>${momentOf(notice.done_ms ?? notice.sent_ms ?? notice.due_ms, state.lang)}</time>
    ${notice.reason === 'step' ? html`<b>${notice.state === 'pending' ? t('notice.pending') : t(`notice.${notice.state}`)}</b>
        <span>${notice.policy && t('notice.step', notice.policy, notice.step + 1, momentOf(notice.due_ms, state.lang))}</span>`
      : html`<b>${say(notice.name)} · ${notice.channel}${notice.verified === false ? ` (${t('contacts.unproven')})` : ''}</b>
        <span>${t(`reason.${notice.reason}`)} · ${t(`notice.${notice.state}`)}${notice.state === 'failed' || notice.state === 'pending' ? ` ${notice.code} ${notice.said}` : ''}</span>
        ${may('alarm.assign') && ['failed', 'expired'].includes(notice.state) && html`<button class="plain" onClick=${() => again(notice)}>${t('notice.again')}</button>`}`}
  </li>`)}</ol>`;
}

/** What one entry of the journal says beyond its kind. */
function detailOf({ kind, body }) {
  if (body.severity !== undefined && body.change) {
    const value = body.value == null ? '' : `${numberOf(body.value)} ${unitOf(body.unit)}`;
    return [t(`color.${['', 'blue', 'yellow', 'orange', 'red'][body.severity]}`), value].filter(Boolean).join(' · ');
  }
  const who = body.name === 'clock' ? t('by.clock') : body.name;
  return [who, kind === 'assign' && `→ ${body.to}`, body.text ?? body.comment ?? body.reason].filter(Boolean).join(' · ');
}

function Timeline({ told }) {
  const entries = [...told.history].sort((a, b) => b.at_ms - a.at_ms);
  return html`<ol class="timeline">${entries.map((entry) => html`<li key=${entry.id} data-kind=${entry.kind}>
    <time title=${t('alarm.ago', spanOf(now() - entry.at_ms, state.lang))}>${momentOf(entry.at_ms, state.lang)}</time>
    <b>${t(`kind.${entry.kind}`)}</b><span>${detailOf(entry)}</span></li>`)}</ol>`;
}
